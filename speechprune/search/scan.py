"""One pass over a recording's windows, which gives the statistics that all questions are scored by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechprune.inference.states import load_states
from speechprune.pruning.late_interaction import window_maxima
from speechprune.search.words import QueryWords


@dataclass(frozen=True)
class Scan:
    """Statistics of a recording in B blocks of 2.5 s.

    Parameters
    ----------
    maxima
        max over a block's tokens i of cos(S_i, T_v), float32, ``(B, V)``.
    means
        mean over a block's tokens, float32, ``(B, V)``: phase 1's similarity, word by word.
    num_tokens
        Number of audio tokens N.
    """

    maxima: np.ndarray
    means: np.ndarray
    num_tokens: int


def scan(windows: Iterable[dict[str, Any]], words: QueryWords, block_tokens: int) -> Scan:
    """Read a recording window by window; never more than one is in memory.

    Parameters
    ----------
    windows
        Rows of the index with ``states``, ``scales``, ``norms``, in order.
    words
        Words of all questions of the pass.
    block_tokens
        Number of tokens in a block; blocks cross the windows' borders.
    """
    maxima, means = [], []
    rest = np.zeros((0, len(words.offsets)), np.float32)
    num_tokens = 0
    for window in windows:
        if not window["num_tokens"]:
            continue
        num_tokens += window["num_tokens"]
        cosines = words.cosines(load_states(window), np.asarray(window["norms"], np.float32))
        cosines = np.concatenate([rest, cosines])
        num_full = len(cosines) // block_tokens * block_tokens
        blocks = cosines[:num_full].reshape(-1, block_tokens, cosines.shape[1])
        maxima.append(blocks.max(axis=1))
        means.append(blocks.mean(axis=1))
        rest = cosines[num_full:]
    if len(rest):
        maxima.append(rest.max(axis=0, keepdims=True))
        means.append(rest.mean(axis=0, keepdims=True))
    empty = rest[:0]
    return Scan(np.concatenate([empty, *maxima]), np.concatenate([empty, *means]), num_tokens)


@dataclass(frozen=True)
class WordStatistics:
    """Statistics of each word's best match in the windows of an archive; they add up over recordings.

    Parameters
    ----------
    num_windows
        Number of windows W.
    sums, squares
        Σ_w m_wv and Σ_w m_wv², float64, ``(V,)``.
    """

    num_windows: int
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, maxima: np.ndarray) -> WordStatistics:
        """Make the statistics of one recording."""
        m = window_maxima(maxima)
        return cls(len(m), m.sum(axis=0), np.square(m).sum(axis=0))

    def __add__(self, other: WordStatistics) -> WordStatistics:
        return WordStatistics(
            self.num_windows + other.num_windows, self.sums + other.sums, self.squares + other.squares
        )

    @property
    def mean(self) -> np.ndarray:
        """mean_w m_wv, ``(V,)``."""
        return self.sums / max(1, self.num_windows)

    @property
    def deviation(self) -> np.ndarray:
        """deviation_w m_wv, ``(V,)``."""
        variance: np.ndarray = self.squares / max(1, self.num_windows) - np.square(self.mean)
        return np.sqrt(np.maximum(variance, 0.0))
