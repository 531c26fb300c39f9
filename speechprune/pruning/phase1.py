"""Phase 1 of SpeechPrune: what token scores leave in each frame (section III-B, Eqs 5 to 9).

Shapes: N audio tokens with scores s (see similarity.py), m budget frames of one
second each; the paper's frames hold f tokens, those of other models may differ in size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from speechprune.pruning.transfers import is_queued

Allocation = Literal["fill", "floor"]

_SMALLEST_SUM = 1e-12
_ROUNDING_SECONDS = 1e-6  # of token times
_DEVIATION_STEP = 2.0**-16  # sums of squares of its multiples are exact up to 2¹⁹ tokens


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


def join_frames(frame_starts: torch.Tensor, seconds: int) -> torch.Tensor:
    """Boundaries of frames of ``seconds`` of the budget frames each, the last may have fewer."""
    return torch.cat([frame_starts[:-1][::seconds], frame_starts[-1:]])


def frame_scores(scores: torch.Tensor, frame_starts: torch.Tensor) -> torch.Tensor:
    """Sum of the token scores of each budget frame, F̂_i = Σ_{j in frame i} s_j (Eq 5).

    Sums of multiples of 2⁻²⁴ are exact in float64, in any order.

    Parameters
    ----------
    scores
        s, shape ``(..., N)``.
    frame_starts
        See ``frame_boundaries``, shape ``(m + 1,)``.

    Returns
    -------
    torch.Tensor
        float64, shape ``(..., m)``.
    """
    sums = scores.double().cumsum(dim=-1).index_select(-1, frame_starts[1:] - 1)
    return sums.diff(dim=-1, prepend=torch.zeros_like(sums[..., :1]))


def standardised_frame_scores(scores: torch.Tensor, frame_starts: torch.Tensor) -> torch.Tensor:
    """Frame scores in deviations from the recording's mean, F̂_i = Σ_{j in frame i} (s_j - s̄) / σ (for Eq 5).

    Cosines of one recording may differ by hundredths only. Then the softmax of Eq 6 gives each frame nearly
    the same share, whatever it holds; the unit of the scores decides how much it prefers the best frame. Here
    σ² = (1/N) Σ_j (s_j - s̄)² sets the unit. In it s_j - s̄ is rounded to multiples of 2⁻¹⁶, so that sums are
    exact, and σ is at least 2⁻¹⁶.

    Parameters
    ----------
    scores
        s, shape ``(..., N)``, N at least 1.
    frame_starts
        See ``frame_boundaries``, shape ``(m + 1,)``.

    Returns
    -------
    torch.Tensor
        float64, shape ``(..., m)``.
    """
    mean = scores.double().sum(dim=-1, keepdim=True) / scores.shape[-1]
    steps = ((scores - mean) / _DEVIATION_STEP).round()
    deviation = steps.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1.0) * _DEVIATION_STEP
    return (frame_scores(scores, frame_starts) - frame_starts.diff() * mean) / deviation


def frame_probabilities(frame_scores: torch.Tensor) -> torch.Tensor:
    """P = softmax over the frames' scores (Eq 6), float64, shape ``(..., m)``."""
    return frame_scores.softmax(dim=-1)


def frame_budgets(
    probabilities: torch.Tensor, budget: int, capacities: torch.Tensor, allocation: Allocation
) -> torch.Tensor:
    """How many tokens each frame may keep, n_i = ⌊K p_i⌋ (Eq 7).

    The paper leaves the floor's leftover open, and frames whose n_i exceeds the tokens they hold.
    ``floor`` is the equation as written, cut at what a frame holds: it loses up to one token per frame,
    which an hour (3,600 frames) turns into everything. ``fill`` gives exactly
    min(K, N) tokens away: what a full frame can't hold goes to the frames with room in proportion
    to p, and the fractions go to the largest remainders (ties to the earlier frame).

    Parameters
    ----------
    probabilities
        p, shape ``(..., m)``, positive.
    budget
        K, tokens to keep in all.
    capacities
        Tokens each frame holds, int64, shape ``(m,)``.
    allocation
        ``fill`` or ``floor``.

    Returns
    -------
    torch.Tensor
        int64, shape ``(..., m)``.

    Examples
    --------
    An hour of even frames, and one among them that matches the question:

    >>> import torch
    >>> scores = torch.zeros(3600).double()
    >>> scores[1800] = 5.0
    >>> p, full = frame_probabilities(scores), torch.full((3600,), 25)
    >>> n = frame_budgets(p, 750, full, "floor")
    >>> int(n.sum()), int(n[1800])
    (25, 25)
    >>> n = frame_budgets(p, 750, full, "fill")
    >>> int(n.sum()), int(n[1800])
    (750, 25)

    Were no frame to stand out, ``floor`` would keep nothing at all of the hour:

    >>> int(frame_budgets(torch.full((3600,), 1 / 3600), 750, full, "floor").sum())
    0
    """
    if allocation == "floor":
        return (budget * probabilities).floor().long().minimum(capacities)
    total = capacities.sum().clamp(max=budget)
    is_full = _full_frames(probabilities, total, capacities)
    left = total - (capacities * is_full).sum(dim=-1, keepdim=True)
    share = probabilities.masked_fill(is_full, 0.0)
    quota = left * (share / share.sum(dim=-1, keepdim=True).clamp_min(_SMALLEST_SUM))
    budgets = torch.where(is_full, capacities, quota.long())
    remainder = quota.frac().masked_fill(is_full, -1.0)
    by_remainder = remainder.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(len(capacities), device=quota.device)
    is_raised = places < total - budgets.sum(dim=-1, keepdim=True)
    return budgets.scatter_add(-1, by_remainder, is_raised.long())


def _full_frames(probabilities: torch.Tensor, total: torch.Tensor, capacities: torch.Tensor) -> torch.Tensor:
    """Which frames hold nothing but kept tokens; bool, shape ``(..., m)``.

    A level rises until ``total`` tokens stand under it, min(c_i, level · p_i) in frame i: frames fill in the
    order of c_i / p_i. So a frame is full if its share of what the frames before it leave is c_i or more.
    """
    order = (capacities / probabilities).argsort(dim=-1)
    c, p = capacities[order], probabilities.gather(-1, order)
    left = total - (c.cumsum(dim=-1) - c)
    share = p / p.flip(-1).cumsum(dim=-1).flip(-1)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, left * share >= c)


def ascending_keys(groups: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Whole numbers that sort by group (below 2³¹), and in a group by float32 score, the highest first."""
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0: of -0 and 0 neither is higher
    in_order = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as integers, negative floats run backwards
    return (groups << 32) + ~in_order


def keep_by_frame(
    scores: torch.Tensor, budgets: torch.Tensor, frame_starts: torch.Tensor, num_kept: int
) -> torch.Tensor:
    """The n_i highest-scoring tokens of every frame i, in the order of time (Eqs 8, 9).

    Parameters
    ----------
    scores
        s, float32, shape ``(Q, N)``.
    budgets
        n, shape ``(Q, m)``, none above what its frame holds.
    frame_starts
        See ``frame_boundaries``, shape ``(m + 1,)``.
    num_kept
        Σ n_i over all Q questions: so that nobody has to ask a GPU for it.

    Returns
    -------
    torch.Tensor
        int64 token indices, shape ``(num_kept,)``: of the first question, ascending, then of the second, and
        so on; equal scores go to the earlier token.
    """
    num_questions, num_tokens = scores.shape
    rows = torch.arange(num_questions, device=scores.device)[:, None]
    # from here on the frames and tokens of all questions in one row
    starts, sizes = (
        (frame_starts[:-1] + num_tokens * rows).flatten(),
        frame_starts.diff().repeat(num_questions),
    )
    scores, budgets, num_candidates = scores.flatten(), budgets.flatten(), num_questions * num_tokens
    if not is_queued(scores):  # few frames of an hour have a budget; a GPU would wait for their number
        frames = budgets.nonzero()[:, 0]
        starts, sizes, budgets = starts[frames], sizes[frames], budgets[frames]
        num_candidates = int(sizes.sum())
    numbers = torch.arange(len(sizes), device=scores.device)
    frame = numbers.repeat_interleave(sizes, output_size=num_candidates)  # of each candidate
    places = torch.arange(num_candidates, device=scores.device)
    rank = places - (sizes.cumsum(dim=0) - sizes)[frame]
    candidates = starts[frame] + rank
    by_score = candidates[ascending_keys(frame, scores[candidates]).argsort(stable=True)]
    # sorting leaves every frame in its place: the first n_i places of each are what is kept
    kept = torch.nonzero_static(rank < budgets[frame], size=num_kept)[:, 0]
    return by_score[kept].sort().values % num_tokens


def first_phase(
    scores: torch.Tensor,
    budget: int,
    frame_starts: torch.Tensor,
    allocation: Allocation,
    *,
    standardise: bool = False,
) -> torch.Tensor:
    """Phase 1 whole: token scores to the indices of the survivors, ascending (Eqs 5 to 9).

    Scores ``(N,)`` of one question give ``(n,)``; with ``fill``, ``(Q, N)`` of several give ``(Q, n)``.
    """
    num_tokens = scores.shape[-1]
    if num_tokens == 0:
        return torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
    scores_of_frames = standardised_frame_scores if standardise else frame_scores
    probabilities = frame_probabilities(scores_of_frames(scores, frame_starts))
    budgets = frame_budgets(probabilities, budget, frame_starts.diff(), allocation)
    num_questions = scores.numel() // num_tokens
    num_kept = num_questions * min(budget, num_tokens) if allocation == "fill" else int(budgets.sum())
    rows, budgets = scores.reshape(num_questions, -1), budgets.reshape(num_questions, -1)
    return keep_by_frame(rows, budgets, frame_starts, num_kept).view(*scores.shape[:-1], -1)
