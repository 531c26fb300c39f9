"""One pass over a recording's windows for the statistics that all questions are scored by, and the scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from speechprune.inference.states import load_states, load_times
from speechprune.pruning.late_interaction import sum_of_squares, window_maxima
from speechprune.search.words import QueryWords


@dataclass(frozen=True)
class Scan:
    """Statistics of a recording in B blocks of 2.5 s."""

    maxima: np.ndarray  # max over a block's tokens i of cos(S_i, T_v), float32, ``(B, V)``
    means: np.ndarray  # mean over a block's tokens, float32, ``(B, V)``: phase 1's similarity, word by word
    # start of each block's first token and end of its last, in seconds, float64, ``(B, 2)``
    times: np.ndarray


def scan(windows: Iterable[dict[str, Any]], words: QueryWords, block_tokens: int) -> Scan:
    """Read a recording window by window; never more than one is in memory.

    - ``windows``: rows of the index with ``states``, ``scales``, ``norms`` and ``token_times``, in order.
    - ``block_tokens``: number of tokens in a block; blocks cross the windows' borders.
    """
    maxima, means, times = [], [], []
    rest, rest_times = np.zeros((0, len(words.offsets)), np.float32), np.zeros((0, 2))
    for window in windows:
        if not window["num_tokens"]:
            continue
        cosines = words.cosines(load_states(window), np.asarray(window["norms"], np.float32))
        cosines = np.concatenate([rest, cosines])
        token_times = np.concatenate([rest_times, load_times(window)])
        num_full = len(cosines) // block_tokens * block_tokens
        blocks = cosines[:num_full].reshape(-1, block_tokens, cosines.shape[1])
        maxima.append(blocks.max(axis=1))
        means.append(blocks.mean(axis=1))
        block_times = token_times[:num_full].reshape(-1, block_tokens, 2)
        times.append(np.stack([block_times[:, 0, 0], block_times[:, -1, 1]], axis=1))
        rest, rest_times = cosines[num_full:], token_times[num_full:]
    if len(rest):
        maxima.append(rest.max(axis=0, keepdims=True))
        means.append(rest.mean(axis=0, keepdims=True))
        times.append(np.array([[rest_times[0, 0], rest_times[-1, 1]]]))
    empty = rest[:0]
    return Scan(
        np.concatenate([empty, *maxima]),
        np.concatenate([empty, *means]),
        np.concatenate([np.zeros((0, 2)), *times]),
    )


@dataclass(frozen=True)
class WordStatistics:
    """Statistics of each word's best match in the windows of an archive; they add up over recordings."""

    num_windows: int  # number of windows W
    # sums, squares: Σ_w m_wv and Σ_w m_wv², float64, ``(V,)``
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, maxima: np.ndarray) -> WordStatistics:
        """Make the statistics of one recording."""
        m = window_maxima(torch.from_numpy(maxima)).numpy()
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


@dataclass(frozen=True)
class Score:
    """Match of a recording with a question, and its time."""

    late_interaction: float  # max_w M_w, see ``score``
    similarity: float  # score of phase 1: max_w of the mean over tokens and words of cos(S_i, T_v)
    # start, end: start and end of the window with the best M_w, in seconds
    start: float
    end: float


NOT_SCORED = Score(-np.inf, -np.inf, np.nan, np.nan)  # below all scores


def score(scan: Scan, words: np.ndarray, statistics: WordStatistics) -> Score:
    """Score one recording for one question.

    M_w = Σ_v max(0, z_wv)², as in ``pruning.late_interaction``, but z_wv measures word v against the windows
    of the whole archive: scores of different recordings can be compared, and a word that occurs in most
    recordings has little weight.

    - ``words``: indices of the question's words.
    - ``statistics``: word statistics of the archive.
    """
    if len(scan.maxima) == 0:
        return Score(0.0, -1.0, 0.0, 0.0)
    m = window_maxima(torch.from_numpy(scan.maxima[:, words]))
    mean, deviation = (torch.from_numpy(own[words]) for own in (statistics.mean, statistics.deviation))
    scores = sum_of_squares(m, mean, deviation).numpy()
    s = scan.means[:, words].mean(axis=1)
    similarity = (s[:-1] + s[1:]) / 2 if len(s) > 1 else s
    best = int(np.argmax(scores))
    return Score(
        late_interaction=float(scores[best]),
        similarity=float(similarity.max()),
        start=float(scan.times[best, 0]),
        end=float(scan.times[min(best + 1, len(scan.times) - 1), 1]),
    )
