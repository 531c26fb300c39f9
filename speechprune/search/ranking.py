"""Ranking scores of a recording for a question: late interaction and phase 1's similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speechprune.pruning.late_interaction import sum_of_squares, window_maxima
from speechprune.search.scan import Scan, WordStatistics


@dataclass(frozen=True)
class Score:
    """Match of a recording with a question, and its time."""

    late_interaction: float  # max_w M_w, see ``late_interaction_scores``
    similarity: float  # score of phase 1: max_w of the mean over tokens and words of cos(S_i, T_v)
    # start, end: start and end of the window with the best M_w, in seconds
    start: float
    end: float


def score(scan: Scan, words: np.ndarray, statistics: WordStatistics) -> Score:
    """Score one recording for one question.

    M_w = Σ_v max(0, z_wv)², as in ``pruning.late_interaction``, but z_wv measures word v against the windows
    of the whole archive: scores of different recordings can be compared, and a word that occurs in most
    recordings has little weight.

    Parameters
    ----------
    words
        Indices of the question's words.
    statistics
        Word statistics of the archive.
    """
    if len(scan.maxima) == 0:
        return Score(0.0, -1.0, 0.0, 0.0)
    m = window_maxima(scan.maxima[:, words])
    scores = sum_of_squares(m, statistics.mean[words], statistics.deviation[words])
    s = scan.means[:, words].mean(axis=1)
    similarity = (s[:-1] + s[1:]) / 2 if len(s) > 1 else s
    best = int(np.argmax(scores))
    return Score(
        late_interaction=float(scores[best]),
        similarity=float(similarity.max()),
        start=float(scan.times[best, 0]),
        end=float(scan.times[min(best + 1, len(scan.times) - 1), 1]),
    )
