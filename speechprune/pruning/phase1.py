"""Phase 1 of SpeechPrune: token-text similarity (section III-B, Eqs 4 to 9).

Shapes: S (N, D) audio embeddings, T (L, D) embeddings of the query's own tokens, m budget frames of one
second each; the paper's frames hold f tokens, those of other models may differ in size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

Allocation = Literal["fill", "floor"]

_ROWS_PER_CHUNK = 8192  # float64 copies of S are made this many rows at a time
_SMALLEST_NORM = 1e-12
_ROUNDING_SECONDS = 1e-6  # of token times
_SCORE_STEP = 2.0**-24  # scores lie in [-1, 1]: float32 holds every multiple of this exactly


def mean_query_direction(query_embeds: torch.Tensor) -> torch.Tensor:
    """Mean of the normalised query embeddings, t̄ = (1/L) Σ_j T_j / ‖T_j‖ (Eq 4, text side).

    Parameters
    ----------
    query_embeds
        T, shape ``(L, D)``, L at least 1.

    Returns
    -------
    torch.Tensor
        float64, shape ``(D,)``.
    """
    T = query_embeds.double()
    return (T / T.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)).mean(dim=0)


def token_scores(audio_embeds: torch.Tensor, queries: Sequence[torch.Tensor]) -> np.ndarray:
    """Mean similarity of every audio token to each query, s_i = mean_j cos(S_i, T_j) (Eqs 4, 5).

    Mean and product commute, so s = Ŝ·t̄: one (N, D) by (D, Q) product for all Q queries of a
    recording and no (N, L) matrix. Summed in float64 and rounded to multiples of 2⁻²⁴, so that the
    scores, and ties between them, don't depend on which other queries are in the batch (float32's own
    rounding would keep float64's noise where a score cancels to zero).

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``.
    queries
        Q tensors T, each ``(L, D)``.

    Returns
    -------
    numpy.ndarray
        float32, shape ``(Q, N)``.
    """
    if len(audio_embeds) == 0:
        return np.zeros((len(queries), 0), np.float32)
    directions = torch.stack([mean_query_direction(T) for T in queries], dim=1).to(audio_embeds.device)
    chunks = []
    for rows in audio_embeds.split(_ROWS_PER_CHUNK):
        S = rows.double()
        scores = (S @ directions) / S.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)
        chunks.append((scores / _SCORE_STEP).round() * _SCORE_STEP)
    return torch.cat(chunks).T.float().cpu().numpy()


def frame_boundaries(start_seconds: np.ndarray) -> np.ndarray:
    """Group tokens to budget frames: the tokens that start within one second of the recording.

    Seconds are counted from the first token; a second in which no token starts makes no frame.

    Parameters
    ----------
    start_seconds
        Start of every token, ascending, shape ``(N,)``, N at least 1.

    Returns
    -------
    numpy.ndarray
        ``frame_starts``: int64 token indices, ascending from 0 to N, shape ``(m + 1,)``.
    """
    seconds = np.floor(start_seconds - start_seconds[0] + _ROUNDING_SECONDS)
    return np.concatenate([[0], np.flatnonzero(np.diff(seconds) > 0) + 1, [len(seconds)]]).astype(np.int64)


def _as_frames(values: np.ndarray, frame_starts: np.ndarray, fill: float) -> np.ndarray:
    """(N,) as (m, largest frame), shorter frames filled up at their end."""
    sizes = np.diff(frame_starts)
    frames = np.full((len(sizes), sizes.max()), fill, np.float64)
    frames[_is_token(sizes)] = values
    return frames


def _is_token(sizes: np.ndarray) -> np.ndarray:
    """Which places of the (m, largest frame) array hold a token."""
    is_token: np.ndarray = np.arange(sizes.max()) < sizes[:, None]
    return is_token


def frame_scores(scores: np.ndarray, frame_starts: np.ndarray) -> np.ndarray:
    """Sum of the token scores of each budget frame, F̂_i = Σ_{j in frame i} s_j (Eq 5).

    Parameters
    ----------
    scores
        s, shape ``(N,)``.
    frame_starts
        See ``frame_boundaries``, shape ``(m + 1,)``.

    Returns
    -------
    numpy.ndarray
        float64, shape ``(m,)``.
    """
    return _as_frames(scores, frame_starts, 0.0).sum(axis=1)


def frame_probabilities(frame_scores: np.ndarray) -> np.ndarray:
    """P = softmax over the frames' scores (Eq 6), float64, shape ``(m,)``."""
    weights = np.exp(frame_scores - frame_scores.max())
    return weights / weights.sum()


def frame_budgets(
    probabilities: np.ndarray, budget: int, capacities: np.ndarray, allocation: Allocation
) -> np.ndarray:
    """How many tokens each frame may keep, n_i = ⌊K p_i⌋ (Eq 7).

    The paper leaves the floor's leftover open, and frames whose n_i exceeds the tokens they hold.
    ``floor`` is the equation as written, cut at what a frame holds: it loses up to one token per frame,
    which an hour (3,600 frames) turns into everything. ``fill`` gives exactly
    min(K, N) tokens away: what a full frame can't hold goes to the frames with room in proportion
    to p, and the fractions go to the largest remainders (ties to the earlier frame).

    Parameters
    ----------
    probabilities
        p, shape ``(m,)``, positive.
    budget
        K, tokens to keep in all.
    capacities
        Tokens each frame holds, shape ``(m,)``.
    allocation
        ``fill`` or ``floor``.

    Returns
    -------
    numpy.ndarray
        int64, shape ``(m,)``.

    Examples
    --------
    An hour of even frames, and one among them that matches the question:

    >>> import numpy as np
    >>> scores = np.zeros(3600)
    >>> scores[1800] = 5.0
    >>> p, full = frame_probabilities(scores), np.full(3600, 25)
    >>> n = frame_budgets(p, 750, full, "floor")
    >>> int(n.sum()), int(n[1800])
    (25, 25)
    >>> n = frame_budgets(p, 750, full, "fill")
    >>> int(n.sum()), int(n[1800])
    (750, 25)

    Were no frame to stand out, ``floor`` would keep nothing at all of the hour:

    >>> int(frame_budgets(np.full(3600, 1 / 3600), 750, full, "floor").sum())
    0
    """
    if allocation == "floor":
        return np.minimum(np.floor(budget * probabilities).astype(np.int64), capacities)
    budgets = np.zeros(len(probabilities), np.int64)
    free = np.ones(len(probabilities), bool)
    left = min(budget, int(capacities.sum()))
    while left > 0:
        share = np.where(free, probabilities, 0.0)
        quota = left * (share / share.sum())
        overfull = free & (quota >= capacities)
        if not overfull.any():
            break
        budgets[overfull] = capacities[overfull]
        left -= int(capacities[overfull].sum())
        free &= ~overfull
    else:
        return budgets
    budgets[free] = np.floor(quota[free]).astype(np.int64)
    remainder = np.where(free, quota - np.floor(quota), -1.0)
    num_leftover = left - int(budgets[free].sum())
    budgets[np.argsort(-remainder, kind="stable")[:num_leftover]] += 1
    return budgets


def keep_by_frame(scores: np.ndarray, budgets: np.ndarray, frame_starts: np.ndarray) -> np.ndarray:
    """The n_i highest-scoring tokens of every frame i, in the order of time (Eqs 8, 9).

    Parameters
    ----------
    scores
        s, shape ``(N,)``.
    budgets
        n, shape ``(m,)``, none above what its frame holds.
    frame_starts
        See ``frame_boundaries``, shape ``(m + 1,)``.

    Returns
    -------
    numpy.ndarray
        int64 token indices, ascending; equal scores go to the earlier token.
    """
    frames = _as_frames(scores, frame_starts, -np.inf)
    order = np.argsort(-frames, axis=1, kind="stable")
    chosen = np.zeros(frames.shape, bool)
    np.put_along_axis(chosen, order, np.arange(frames.shape[1]) < budgets[:, None], axis=1)
    return np.flatnonzero(chosen[_is_token(np.diff(frame_starts))])


def first_phase(
    scores: np.ndarray, budget: int, frame_starts: np.ndarray, allocation: Allocation
) -> np.ndarray:
    """Phase 1 whole: token scores (N,) to the indices of the survivors, ascending (Eqs 5 to 9)."""
    if len(scores) == 0:
        return np.zeros(0, np.int64)
    probabilities = frame_probabilities(frame_scores(scores, frame_starts))
    budgets = frame_budgets(probabilities, budget, np.diff(frame_starts), allocation)
    return keep_by_frame(scores, budgets, frame_starts)
