"""Candidates of a search: shards of recordings whose coded tokens match several words of a question.

Late interaction as in ``search.scan``, but of approximate cosines, and with z_v² = 0 for all but the best
matches of a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from speechprune.data.index_files import Shard
from speechprune.data.search_codes import read_codes
from speechprune.data.token_codec import TokenCodec, empty_index, search_words
from speechprune.search.scan import WordStatistics
from speechprune.search.words import QueryWords

MATCHES_PER_WORD = 1024  # tokens in each group of files
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Candidates:
    """What some files of codes hold for the queries of a pass."""

    coded: list[Shard]  # all shards that have codes there
    of_query: list[list[tuple[float, Shard]]]  # of each query the best shards with M, best first


def find_candidates(
    files: Sequence[str],
    searched: Collection[Shard],
    codec: TokenCodec,
    words: QueryWords,
    statistics: WordStatistics,
    block_tokens: int,
    num_recordings: int,
) -> Candidates:
    """Find the shards with the best windows of each query.

    Parameters
    ----------
    files
        Of codes that ``codec`` made.
    searched
        Shards that may be found; what the files hold of others is left out.
    statistics
        Word statistics of the archive.
    block_tokens
        Number of tokens in a block, half a window.
    num_recordings
        Number of recordings that the shards of a query may belong to.
    """
    index = empty_index(codec)
    there = [(shard, own) for shard, own in zip(*read_codes(files), strict=True) if shard in searched]
    shards, codes = [shard for shard, _ in there], [own for _, own in there]
    rows = [np.frombuffer(own, np.uint8).reshape(-1, index.sa_code_size()) for own in codes]
    # blocks, and the windows that begin with them, are numbered through all shards
    num_blocks = np.array([max(1, -(-len(own) // block_tokens)) for own in rows], np.int64)
    firsts = np.cumsum(num_blocks) - num_blocks
    lasts = firsts + np.maximum(num_blocks - 2, 0)
    for first, own in zip(firsts.tolist(), rows, strict=True):
        index.add_sa_codes(own, first + np.arange(len(own)) // block_tokens)
    vectors = np.column_stack([words.directions, words.offsets])
    cosines, blocks = search_words(index, vectors, min(MATCHES_PER_WORD, max(1, index.ntotal)))
    z = (cosines - statistics.mean[:, None]) / np.maximum(statistics.deviation, _SMALLEST)[:, None]
    squares = np.maximum(z, 0.0) ** 2
    matches = [
        _best_of_windows(own[own >= 0], some[own >= 0], firsts, lasts)
        for own, some in zip(blocks, squares, strict=True)
    ]
    of_query = []
    for query in words.of_query:
        windows, which = np.unique(np.concatenate([matches[v][0] for v in query]), return_inverse=True)
        scores = np.bincount(which, np.concatenate([matches[v][1] for v in query]), len(windows))
        order = np.argsort(-scores, kind="stable")
        places = np.searchsorted(firsts, windows[order], side="right") - 1
        hits = zip(scores[order].tolist(), (shards[place] for place in places), strict=True)
        of_query.append(down_to(num_recordings, hits))
    return Candidates(shards, of_query)


def _best_of_windows(
    blocks: np.ndarray, squares: np.ndarray, firsts: np.ndarray, lasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Windows that hold the matches of a word, given the blocks of these, and the best z_v² in each.

    - ``firsts``, ``lasts``: first and last window of each shard.
    """
    shards = np.searchsorted(firsts, blocks, side="right") - 1
    places = np.concatenate([np.minimum(blocks, lasts[shards]), np.maximum(blocks - 1, firsts[shards])])
    twice = np.concatenate([squares, squares])
    order = np.argsort(-twice, kind="stable")
    windows, first = np.unique(places[order], return_index=True)
    return windows, twice[order][first]


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
