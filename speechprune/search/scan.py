"""One pass over a recording's windows for the statistics that all questions are scored by, and the scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from speechprune.data.word_statistics import WordStatistics
from speechprune.inference.states import load_states, load_times
from speechprune.pruning.late_interaction import NEARLY_BEST, sum_of_squares, window_maxima
from speechprune.search.words import QueryWords

Span = tuple[float, float]  # start and end in seconds
WHOLE: Span = (0.0, np.inf)
NUM_MATCHES = 5  # of a recording, at most


@dataclass(frozen=True)
class Scan:
    """Statistics of a recording in B blocks of 2.5 s."""

    maxima: np.ndarray  # max over a block's tokens i of cos(S_i, T_v), float32, ``(B, V)``
    means: np.ndarray  # mean over a block's tokens, float32, ``(B, V)``: phase 1's similarity, word by word
    # start of each block's first token and end of its last, in seconds, float64, ``(B, 2)``
    times: np.ndarray


def scan(windows: Iterable[dict[str, Any]], words: QueryWords, block_tokens: int, span: Span = WHOLE) -> Scan:
    """Read a recording window by window; never more than one is in memory.

    - ``windows``: rows of the index with ``states``, ``scales``, ``norms`` and ``token_times``, in order.
    - ``block_tokens``: number of tokens in a block; blocks cross the windows' borders.
    - ``span``: tokens outside of these seconds are left out.
    """
    maxima, means, times = [], [], []
    rest, rest_times = np.zeros((0, len(words.offsets)), np.float32), np.zeros((0, 2))
    for window in windows:
        if not window["num_tokens"]:
            continue
        cosines = words.cosines(load_states(window), np.asarray(window["norms"], np.float32))
        token_times = load_times(window)
        if span != WHOLE:
            inside = (token_times[:, 1] > span[0]) & (token_times[:, 0] < span[1])
            cosines, token_times = cosines[inside], token_times[inside]
        cosines = np.concatenate([rest, cosines])
        token_times = np.concatenate([rest_times, token_times])
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


class Match(NamedTuple):
    """A window that matches a question."""

    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Score:
    """Match of a recording with a question, and its times."""

    late_interaction: float  # max_w M_w, see ``score``
    similarity: float  # score of phase 1: max_w of the mean over tokens and words of cos(S_i, T_v)
    matches: tuple[Match, ...] = ()  # the windows that score nearly as high as the best, which is the first

    def __or__(self, other: Score) -> Score:
        """Return the score of two parts of a recording."""
        best = max(self, other, key=lambda one: one.late_interaction)
        matches = sorted(self.matches + other.matches, key=lambda match: -match.score)
        near = [match for match in matches if match.score >= NEARLY_BEST * best.late_interaction]
        return replace(best, matches=tuple(near[:NUM_MATCHES]))


NOT_SCORED = Score(-np.inf, -np.inf)  # below all scores


def score(scan: Scan, words: np.ndarray, statistics: WordStatistics) -> Score:
    """Score one recording for one question; ``NOT_SCORED`` where it has no tokens.

    M_w = Σ_v max(0, z_wv)², as in ``pruning.late_interaction``, but z_wv measures word v against the windows
    of the whole archive: scores of different recordings can be compared, and a word that occurs in most
    recordings has little weight.

    - ``words``: indices of the question's words.
    - ``statistics``: word statistics of the archive.
    """
    if len(scan.maxima) == 0:
        return NOT_SCORED
    m = window_maxima(torch.from_numpy(scan.maxima[:, words]))
    mean, deviation = (torch.from_numpy(own[words]) for own in (statistics.mean, statistics.deviation))
    scores = sum_of_squares(m, mean, deviation).numpy()
    s = scan.means[:, words].mean(axis=1)
    similarity = (s[:-1] + s[1:]) / 2 if len(s) > 1 else s
    ends = scan.times[1:, 1] if len(scan.times) > 1 else scan.times[:, 1]
    return Score(
        late_interaction=float(scores.max()),
        similarity=float(similarity.max()),
        matches=tuple(
            Match(float(scan.times[place, 0]), float(ends[place]), float(scores[place]))
            for place in _near_best(scores)
        ),
    )


def _near_best(scores: np.ndarray) -> list[int]:
    """Windows that score nearly as high as the best, best first, of those that share a block the better."""
    chosen: list[int] = []
    near = np.flatnonzero(scores >= NEARLY_BEST * scores.max())
    for place in near[np.argsort(-scores[near], kind="stable")].tolist():
        if len(chosen) < NUM_MATCHES and all(abs(place - other) > 1 for other in chosen):
            chosen.append(place)
    return chosen
