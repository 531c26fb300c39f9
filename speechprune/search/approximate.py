"""One pass over a search index: candidates by the codes, then late interaction on the candidates' states.

Of a recording only its candidate shards are scanned, each by itself, and the shards that have no codes yet.
"""

from __future__ import annotations

import functools
import heapq
import operator
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from speechprune.data.index_files import Contents, Part, Shard
from speechprune.data.search_codes import LearnedCodec, SearchCodes
from speechprune.pipeline.executor import Executor
from speechprune.pruning.late_interaction import block_tokens
from speechprune.search.candidates import Candidates, down_to, find_candidates
from speechprune.search.index_pass import RECORDINGS_PER_BLOCK, ScannedBlock, scan_block
from speechprune.search.scan import NOT_SCORED, Score, WordStatistics, scan, score
from speechprune.search.words import QueryWords

FILES_PER_TASK = 16  # of codes: at most 85 hours at the usual 5 minutes a shard


@dataclass(frozen=True)
class SearchIndex:
    """The search index as it is at the start of a search, and where the states of each shard are."""

    learned: LearnedCodec
    files: list[str]  # of codes
    num_bytes: int  # of the codes and all that is read with them
    parts: dict[Shard, Part]  # of the complete recordings that are searched

    @classmethod
    def open(cls, codes: SearchCodes, contents: Contents, kept: Collection[str]) -> SearchIndex | None:
        """Open it for some recordings; None where there is none."""
        learned = codes.learned()
        if learned is None:
            return None
        parts = {
            (uri, version, shard): part
            for (uri, version), there in sorted(contents.items())
            if there.is_complete and uri in kept
            for shard, part in sorted(there.parts.items())
        }
        return cls(learned, codes.files(learned.codec), codes.num_bytes(learned), parts)


def approximate_pass(
    executor: Executor, index: SearchIndex, words: QueryWords, token_rate: float, num_candidates: int
) -> tuple[dict[str, list[Score]], dict[str, str], int]:
    """Score the candidates of every question of a pass.

    Returns the scores by recording, one a question, ``NOT_SCORED`` where it is no candidate; of recordings
    that can't be read a sentence each; and the number of shards whose states were read.
    """
    shared, codec = executor.put(words), executor.put(index.learned.codec)
    searched = executor.put(frozenset(index.parts))
    statistics = executor.submit(sample_statistics, index.learned, shared, token_rate)
    groups = [index.files[i : i + FILES_PER_TASK] for i in range(0, len(index.files), FILES_PER_TASK)]
    size = block_tokens(token_rate)
    finding = [
        executor.submit(find_candidates, group, searched, codec, shared, statistics, size, num_candidates)
        for group in groups
    ]
    found = [executor.get(handle) for handle in finding]
    asked = questions_of_shards(found, index.parts, len(words.of_query), num_candidates)
    shards = sorted(asked)
    scores = {uri: [NOT_SCORED] * len(words.of_query) for uri, _, _ in index.parts}
    unreadable: dict[str, str] = {}
    scoring = []
    for i in range(0, len(shards), RECORDINGS_PER_BLOCK):
        block = shards[i : i + RECORDINGS_PER_BLOCK]
        scanned = executor.submit(
            scan_block, {shard: [index.parts[shard]] for shard in block}, shared, token_rate
        )
        questions = {shard: asked[shard] for shard in block}
        scoring.append(executor.submit(score_shards, scanned, shared, statistics, questions))
    for handle in scoring:
        scored, not_read = executor.get(handle)
        unreadable |= {uri: sentence for (uri, _, _), sentence in not_read.items()}
        for uri, number, one in scored:
            scores[uri][number] |= one
    return {uri: some for uri, some in scores.items() if uri not in unreadable}, unreadable, len(shards)


def sample_statistics(learned: LearnedCodec, words: QueryWords, token_rate: float) -> WordStatistics:
    """Measure the word statistics of the archive on the sample of its windows."""
    windows = learned.sampled_windows().to_pylist()
    scans = [scan([window], words, block_tokens(token_rate)) for window in windows]
    return functools.reduce(operator.add, [WordStatistics.of(one.maxima) for one in scans])


def questions_of_shards(
    found: Sequence[Candidates], indexed: Collection[Shard], num_questions: int, num_candidates: int
) -> dict[Shard, list[int]]:
    """Shards to be scanned, each with the questions that it is scanned for.

    These are the shards of each question's ``num_candidates`` best recordings, and for all questions those
    without codes; shards that are no longer in the index are left out.
    """
    coded = {shard for group in found for shard in group.coded}
    asked = defaultdict(list, {shard: list(range(num_questions)) for shard in indexed if shard not in coded})
    for number in range(num_questions):
        hits = heapq.merge(*(group.of_query[number] for group in found), key=lambda hit: -hit[0])
        current = (hit for hit in hits if hit[1] in indexed)
        for _, shard in down_to(num_candidates, current):
            asked[shard].append(number)
    return dict(asked)


def score_shards(
    scanned: ScannedBlock[Shard],
    words: QueryWords,
    statistics: WordStatistics,
    questions: Mapping[Shard, Sequence[int]],
) -> tuple[list[tuple[str, int, Score]], dict[Shard, str]]:
    """Score the shards of a block for their questions.

    Returns recording, question and score of each, and a sentence for each shard that can't be read.
    """
    scores = [
        (shard[0], number, score(one, words.of_query[number], statistics))
        for shard, one in scanned.scans.items()
        for number in questions[shard]
    ]
    return scores, scanned.unreadable
