"""One pass over a search index: candidates by the codes, then late interaction on the candidates' states.

Of a recording only its candidate shards are scanned, each by itself, and the shards that have no codes yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from speechprune.data.index_files import Contents, Part
from speechprune.data.index_listing import Shard
from speechprune.data.search_codes import LearnedCodec, SearchCodes
from speechprune.data.word_statistics import WordStatistics
from speechprune.pipeline.executor import Executor
from speechprune.search.candidates import WORDS_PER_READ, CodedBlocks, find_candidates, find_matches
from speechprune.search.index_pass import RECORDINGS_PER_BLOCK, ScannedBlock, scan_block
from speechprune.search.scan import NOT_SCORED, Score, score
from speechprune.search.words import QueryWords


@dataclass(frozen=True)
class SearchIndex:
    """The search index as it is at the start of a search, and where the states of each shard are."""

    learned: LearnedCodec
    coded: CodedBlocks
    parts: dict[Shard, Part]  # of the complete recordings that are searched

    @classmethod
    def open(cls, codes: SearchCodes, contents: Contents, kept: Collection[str]) -> SearchIndex | None:
        """Open it for some recordings; None where there is none."""
        if (published := codes.published()) is None:
            return None
        learned, names = published
        parts = {
            (uri, version, shard): part
            for (uri, version), there in sorted(contents.items())
            if there.is_complete and uri in kept
            for shard, part in sorted(there.parts.items())
        }
        segments = codes.segments(learned.codec, names)
        return cls(learned, CodedBlocks.of(segments, parts.keys()), parts) if segments else None


class Reading(NamedTuple):
    """What a pass reads."""

    num_shards: int  # whose states were read
    num_bytes: int  # of the inverted lists
    num_requests: int  # for the inverted lists


def approximate_pass(
    executor: Executor, index: SearchIndex, words: QueryWords, token_rate: float, num_candidates: int
) -> tuple[dict[str, list[Score]], dict[str, str], Reading]:
    """Score the candidates of every question of a pass.

    Returns the scores by recording, one a question, ``NOT_SCORED`` where it is no candidate; of recordings
    that can't be read a sentence each; and what was read.
    """
    shared, codec, coded = map(executor.put, (words, index.learned.codec, index.coded))
    statistics = index.learned.statistics[words.token_ids]
    vectors = words.vectors
    finding = [
        executor.submit(find_matches, coded, codec, vectors[i : i + WORDS_PER_READ])
        for i in range(0, len(vectors), WORDS_PER_READ)
    ]
    matches = [executor.get(handle) for handle in finding]
    found = find_candidates(index.coded, matches, words, statistics, num_candidates)
    asked = questions_of_shards(found, set(index.coded.shards), index.parts)
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
    reading = Reading(
        len(shards), sum(some.num_bytes for some in matches), sum(some.num_requests for some in matches)
    )
    return {uri: some for uri, some in scores.items() if uri not in unreadable}, unreadable, reading


def questions_of_shards(
    found: Sequence[Sequence[tuple[float, Shard]]], coded: Collection[Shard], indexed: Collection[Shard]
) -> dict[Shard, list[int]]:
    """Shards to be scanned, each with the questions that it is scanned for.

    These are the candidates of each question, and for all questions the shards without codes.
    """
    every = list(range(len(found)))
    asked = defaultdict(list, {shard: list(every) for shard in indexed if shard not in coded})
    for number in every:
        for _, shard in found[number]:
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
