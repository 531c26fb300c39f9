"""Phase 1's token scores: similarity of audio tokens to the query (section III-B, Eqs 4 and 5).

Shapes: S (N, D) audio embeddings, T (L, D) embeddings of the query's own tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from speechprune.pruning.word_cosines import WordCosines

Similarity = Literal["mean", "best"]

_ROWS_PER_CHUNK = 8192  # float64 copies of S are made this many rows at a time
_SMALLEST_NORM = 1e-12
_SCORE_STEP = 2.0**-24  # scores lie in [-1, 1]: float32 holds every multiple of this exactly


def mean_query_directions(queries: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean of each query's normalised embeddings, t̄ = (1/L) Σ_j T_j / ‖T_j‖ (Eq 4, text side).

    Parameters
    ----------
    queries
        Q tensors T, each ``(L, D)``, L at least 1.

    Returns
    -------
    torch.Tensor
        float64, shape ``(D, Q)``.
    """
    T = torch.cat(list(queries)).double()
    T /= T.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)
    return torch.stack([own.mean(dim=0) for own in T.split([len(own) for own in queries])], dim=1)


def token_scores(audio_embeds: torch.Tensor, queries: Sequence[torch.Tensor]) -> torch.Tensor:
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
    torch.Tensor
        float32, shape ``(Q, N)``, on the device of ``audio_embeds``.
    """
    if len(audio_embeds) == 0:
        return torch.zeros(len(queries), 0, device=audio_embeds.device)
    directions = mean_query_directions(queries).to(audio_embeds.device)
    chunks = []
    for rows in audio_embeds.split(_ROWS_PER_CHUNK):
        S = rows.double()
        scores = (S @ directions) / S.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)
        chunks.append((scores / _SCORE_STEP).round() * _SCORE_STEP)
    return torch.cat(chunks).T.float().contiguous()


def best_scores(
    audio_embeds: torch.Tensor, queries: Sequence[torch.Tensor], token_ids: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """Similarity of every audio token to the query's nearest token, s_i = max_j cos(S_i, T_j).

    In place of the mean of Eqs 4 and 5, in which the tokens that any sentence has (articles, punctuation)
    outweigh those that only the answer's sentence has.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``.
    queries
        Q tensors T, each ``(L, D)``.
    token_ids
        The L tokens of each query.

    Returns
    -------
    list of torch.Tensor
        One a query: float32, shape ``(N,)``, multiples of 2⁻²², on the device of ``audio_embeds``.
    """
    if len(audio_embeds) == 0:
        return [torch.zeros(0, device=audio_embeds.device) for _ in queries]
    cosines = WordCosines(audio_embeds, queries, token_ids)
    chunks = [
        torch.stack([rows[:, own].amax(dim=1) for own in cosines.words_of_query])
        for rows in cosines.chunks(_ROWS_PER_CHUNK)
    ]
    return list(torch.cat(chunks, dim=1))
