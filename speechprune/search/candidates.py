"""Candidates of a search: shards of recordings whose coded tokens match several words of a question.

Late interaction as in ``search.scan``, but of approximate cosines, and with z_v² = 0 for all but the best
matches of a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speechprune.data.index_listing import Shard
from speechprune.data.inverted_lists import Segment
from speechprune.data.token_codec import (
    TokenCodec,
    add_tokens,
    centroids_of,
    choose_lists,
    empty_index,
    search_lists,
)
from speechprune.data.word_statistics import WordStatistics
from speechprune.search.words import QueryWords

MATCHES_PER_WORD = 4096  # tokens, or more in a large archive:
TOKENS_PER_MATCH = 10_000  # with half as many matches, recall among 5,000 recordings is lower
WORDS_PER_READ = 64  # words whose lists are in memory together
_SMALLEST = 1e-12


@dataclass(frozen=True)
class CodedBlocks:
    """Blocks of all segments, numbered through, and the windows that begin with them."""

    segments: Sequence[Segment]
    shards: list[Shard]
    # firsts, lasts: first and last window of each shard
    firsts: np.ndarray
    lasts: np.ndarray
    is_searched: np.ndarray  # of each block, whether it may be found

    @classmethod
    def of(cls, segments: Sequence[Segment], searched: Collection[Shard]) -> CodedBlocks:
        """Number the blocks of segments; those of shards that are not searched can't be found."""
        shards = [shard for segment in segments for shard in segment.shards]
        num_blocks = np.concatenate([np.zeros(0, np.int64), *(segment.num_blocks for segment in segments)])
        firsts = np.cumsum(num_blocks) - num_blocks
        is_searched = np.repeat(np.array([shard in searched for shard in shards], bool), num_blocks)
        return cls(segments, shards, firsts, firsts + np.maximum(num_blocks - 2, 0), is_searched)


class Matches(NamedTuple):
    """The tokens nearest to some words."""

    cosines: np.ndarray  # approximate, float32, ``(V, k)``
    blocks: np.ndarray  # int64, ``(V, k)``, -1 where there are fewer tokens
    # num_bytes, num_requests: what was read
    num_bytes: int
    num_requests: int


def find_matches(coded: CodedBlocks, codec: TokenCodec, vectors: np.ndarray) -> Matches:
    """Find the tokens nearest to some words in the lists of their nearest centroids, and read no others.

    - ``vectors``: of the words, float32, ``(V, d + 1)``.
    """
    index = empty_index(codec)
    lengths = np.sum([np.diff(segment.offsets) for segment in coded.segments], axis=0)
    lists, products = choose_lists(centroids_of(index), vectors, lengths)
    wanted = np.unique(lists[lists >= 0])
    num_bytes = num_requests = first = 0
    for segment in coded.segments:
        entries, own_bytes, own_requests = segment.read(wanted)
        for number, (blocks, codes) in entries.items():
            ids = first + blocks.astype(np.int64)
            kept = coded.is_searched[ids]
            add_tokens(index, number, ids[kept], codes[kept])
        num_bytes += own_bytes
        num_requests += own_requests
        first += int(segment.num_blocks.sum())
    num_matches = max(MATCHES_PER_WORD, int(lengths.sum()) // TOKENS_PER_MATCH)
    cosines, blocks = search_lists(index, vectors, (lists, products), num_matches)
    return Matches(cosines, blocks, num_bytes, num_requests)


def find_candidates(
    coded: CodedBlocks,
    matches: Sequence[Matches],
    words: QueryWords,
    statistics: WordStatistics,
    num_recordings: int,
) -> list[list[tuple[float, Shard]]]:
    """Return the shards with the best windows of each query, with M, best first.

    Parameters
    ----------
    coded
        Blocks of the search index.
    matches
        Of the words, some after the other.
    words
        Words of the queries.
    statistics
        Word statistics of the archive.
    num_recordings
        Number of recordings that the shards of a query may belong to.
    """
    cosines, blocks = (np.concatenate([some[place] for some in matches]) for place in (0, 1))
    z = (cosines - statistics.mean[:, None]) / np.maximum(statistics.deviation, _SMALLEST)[:, None]
    squares = np.maximum(z, 0.0) ** 2
    best = [
        _best_of_windows(own[own >= 0], some[own >= 0], coded.firsts, coded.lasts)
        for own, some in zip(blocks, squares, strict=True)
    ]
    of_query = []
    for query in words.of_query:
        windows, which = np.unique(np.concatenate([best[v][0] for v in query]), return_inverse=True)
        scores = np.bincount(which, np.concatenate([best[v][1] for v in query]), len(windows))
        order = np.argsort(-scores, kind="stable")
        places = np.searchsorted(coded.firsts, windows[order], side="right") - 1
        hits = zip(scores[order].tolist(), (coded.shards[place] for place in places), strict=True)
        of_query.append(down_to(num_recordings, hits))
    return of_query


def _best_of_windows(
    blocks: np.ndarray, squares: np.ndarray, firsts: np.ndarray, lasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Windows that hold the matches of a word, and the best z_v² in each.

    - ``blocks``, ``squares``: of the matches, best first.
    - ``firsts``, ``lasts``: first and last window of each shard.
    """
    shards = np.searchsorted(firsts, blocks, side="right") - 1
    places = np.stack([np.minimum(blocks, lasts[shards]), np.maximum(blocks - 1, firsts[shards])], axis=1)
    windows, first = np.unique(places, return_index=True)
    return windows, squares[first // 2]


def down_to(num_recordings: int, hits: Iterable[tuple[float, Shard]]) -> list[tuple[float, Shard]]:
    """Return each shard once, in the order of the hits, down to a number of recordings."""
    best: dict[Shard, float] = {}
    recordings: set[str] = set()
    for score, shard in hits:
        if shard[0] not in recordings and len(recordings) == num_recordings:
            break
        recordings.add(shard[0])
        best.setdefault(shard, score)
    return [(score, shard) for shard, score in best.items()]
