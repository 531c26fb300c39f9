"""Statistics of words over the windows of an archive, which tell how much a match is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from speechprune.pruning.late_interaction import window_maxima


@dataclass(frozen=True)
class WordStatistics:
    """Statistics of each word's best match in the windows of an archive; they add up over recordings."""

    num_windows: int  # number of windows W
    # sums, squares: Σ_w m_wv and Σ_w m_wv², float64, ``(V,)``
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, maxima: np.ndarray) -> WordStatistics:
        """Make the statistics of one recording.

        - ``maxima``: max over a block's tokens i of cos(S_i, T_v), float32, ``(B, V)``.
        """
        m = window_maxima(torch.from_numpy(maxima)).numpy()
        return cls(len(m), m.sum(axis=0), np.square(m).sum(axis=0))

    def __add__(self, other: WordStatistics) -> WordStatistics:
        return WordStatistics(
            self.num_windows + other.num_windows, self.sums + other.sums, self.squares + other.squares
        )

    def __getitem__(self, words: np.ndarray) -> WordStatistics:
        """Return those of some of the words."""
        return WordStatistics(self.num_windows, self.sums[words], self.squares[words])

    @property
    def mean(self) -> np.ndarray:
        """mean_w m_wv, ``(V,)``."""
        return self.sums / max(1, self.num_windows)

    @property
    def deviation(self) -> np.ndarray:
        """deviation_w m_wv, ``(V,)``."""
        variance: np.ndarray = self.squares / max(1, self.num_windows) - np.square(self.mean)
        return np.sqrt(np.maximum(variance, 0.0))
