"""One pass over an index, spread by an executor: scan every recording, then score it against all questions.

Scores are measured against the whole archive, so they wait for every recording's statistics; what a scan
leaves of a recording (11 kB an hour and word) waits in the executor's object store.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Part, read_parts
from speechprune.data.word_statistics import WordStatistics
from speechprune.pipeline.executor import Executor
from speechprune.pipeline.failures import code_error, failure_sentence
from speechprune.pruning.late_interaction import block_tokens
from speechprune.search.scan import WHOLE, Scan, Score, Span, scan, score
from speechprune.search.words import QueryWords

RECORDINGS_PER_BLOCK = 8


Key = TypeVar("Key")  # of a recording or of a shard of one
Value = TypeVar("Value")


@dataclass(frozen=True)
class ScannedBlock(Generic[Key]):
    """What a scan leaves of some recordings by address, and a sentence for each that can't be read."""

    scans: dict[Key, Scan]
    unreadable: dict[Key, str]


def search_pass(
    executor: Executor,
    stored: Mapping[str, Sequence[Part]],
    words: QueryWords,
    token_rate: float,
    span: Span = WHOLE,
) -> tuple[dict[str, list[Score]], dict[str, str]]:
    """Score every recording for every question of a pass.

    Only what is spoken in ``span`` counts. Returns the scores by recording, one a question; and of recordings
    that can't be read a sentence each.
    """
    shared_words = executor.put(words)
    scans = [
        executor.submit(scan_block, block, shared_words, token_rate, span) for block in in_blocks(stored)
    ]
    read = [executor.submit(statistics_of, scanned) for scanned in scans]
    by_recording: dict[str, WordStatistics] = {}
    unreadable: dict[str, str] = {}
    for handle in read:
        found, not_found = executor.get(handle)
        by_recording |= found
        unreadable |= not_found
    if not any(one.num_windows for one in by_recording.values()):
        return {}, unreadable
    # in the order of addresses: sums of floats depend on it
    ordered = [by_recording[uri] for uri in sorted(by_recording) if by_recording[uri].num_windows]
    statistics = executor.put(functools.reduce(operator.add, ordered))
    scoring = [executor.submit(score_block, one, shared_words, statistics) for one in scans]
    scores = {uri: some for handle in scoring for uri, some in executor.get(handle).items()}
    return scores, unreadable


def in_blocks(stored: Mapping[str, Sequence[Part]]) -> list[dict[str, Sequence[Part]]]:
    """Divide recordings into blocks that are read as one."""
    uris = list(stored)
    size = RECORDINGS_PER_BLOCK
    return [{uri: stored[uri] for uri in uris[i : i + size]} for i in range(0, len(uris), size)]


def scan_block(
    block: Mapping[Key, Sequence[Part]], words: QueryWords, token_rate: float, span: Span = WHOLE
) -> ScannedBlock[Key]:
    """Scan the recordings of a block, a shard in memory at a time."""
    size = block_tokens(token_rate)
    return ScannedBlock(*read_block(block, lambda windows: scan(windows, words, size, span), span))


def read_block(
    block: Mapping[Key, Sequence[Part]], read: Callable[[Iterator[dict[str, Any]]], Value], span: Span
) -> tuple[dict[Key, Value], dict[Key, str]]:
    """Read the windows of some recordings that overlap a span; also a sentence for each that can't be read.

    - ``read``: called with the windows of each recording, in order; a shard of them is in memory at a time.
    """
    values: dict[Key, Value] = {}
    unreadable: dict[Key, str] = {}
    for uri, parts in block.items():
        try:
            values[uri] = read(window for part in parts for window in _windows_of(part, span))
        except Exception as error:
            if code_error(error) is not None:
                raise
            unreadable[uri] = failure_sentence(error)
    return values, unreadable


def _windows_of(part: Part, span: Span) -> list[dict[str, Any]]:
    """Read the windows of a part that overlap a span; the states only where one does."""
    if span != WHOLE:
        times = read_parts([part], ["start_seconds", "end_seconds"]).to_pylist()
        if not any(row["start_seconds"] < span[1] and row["end_seconds"] > span[0] for row in times):
            return []
    rows: list[dict[str, Any]] = read_parts([part], STATE_COLUMNS).to_pylist()
    return rows


def statistics_of(scanned: ScannedBlock[str]) -> tuple[dict[str, WordStatistics], dict[str, str]]:
    """What of a block is needed to measure it against the archive: statistics, and what can't be read."""
    return {uri: WordStatistics.of(one.maxima) for uri, one in scanned.scans.items()}, scanned.unreadable


def score_block(
    scanned: ScannedBlock[str], words: QueryWords, statistics: WordStatistics
) -> dict[str, list[Score]]:
    """Score the recordings of a block for every question."""
    return {
        uri: [score(found, own, statistics) for own in words.of_query] for uri, found in scanned.scans.items()
    }
