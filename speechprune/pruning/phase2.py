"""Phase 2 of SpeechPrune: attention of the first layer, estimated from signs (Eqs 10 to 13).

Shapes: S (n, D) the survivors of phase 1, W_Q (H·d_k, D) and W_K (H_kv·d_k, D) as Hugging Face
stores them, H query heads, H_kv key heads of d_k dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

Scale = Literal["sign", "xnor"]

_SMALLEST_EXPONENT = -87.0  # e^-87 is about float32's smallest normal number
_LOGITS_AT_ONCE = 1 << 24  # elements of the (heads, rows, n) logits held at a time: 64 MiB


def sign(values: torch.Tensor) -> torch.Tensor:
    """±1 in float32, sign(0) = +1 (Eq 10)."""
    return torch.where(values >= 0, 1.0, -1.0)


@dataclass(frozen=True)
class FirstLayerProjections:
    """The query and key projections of the LLM's first decoder layer, without bias.

    Parameters
    ----------
    query_weight
        W_Q, shape ``(num_heads * head_dim, D)``.
    key_weight
        W_K, shape ``(num_key_value_heads * head_dim, D)``.
    num_heads, num_key_value_heads
        With grouped queries fewer key heads than query heads; each serves a group.
    """

    query_weight: torch.Tensor
    key_weight: torch.Tensor
    num_heads: int
    num_key_value_heads: int

    @property
    def head_dim(self) -> int:
        """d_k."""
        return self.query_weight.shape[0] // self.num_heads

    @cached_property
    def signs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """W_Q and W_K through sign, transposed to (D, heads * d_k); made once a model."""
        return sign(self.query_weight).T.contiguous(), sign(self.key_weight).T.contiguous()

    @cached_property
    def scales(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean absolute weight of every output dimension (XNOR-Net, arXiv 1603.05279), (heads * d_k,)."""
        return self.query_weight.float().abs().mean(dim=1), self.key_weight.float().abs().mean(dim=1)


def project_signs(
    audio_embeds: torch.Tensor, projections: FirstLayerProjections, scale: Scale
) -> tuple[torch.Tensor, torch.Tensor]:
    """Q' = S^b W_Q^b and K' = S^b W_K^b, split into heads (Eqs 10, 11).

    Sums of ±1 are integers of at most D, exact in float32 in any order of summation. ``xnor``
    multiplies by the mean absolute values of each token and each output dimension.

    Returns
    -------
    tuple
        Q' ``(H, n, d_k)`` and K' ``(H_kv, n, d_k)``, float32.
    """
    S_signs = sign(audio_embeds)
    query, key = (S_signs @ W_signs for W_signs in projections.signs)
    if scale == "xnor":
        token_scale = audio_embeds.float().abs().mean(dim=1, keepdim=True)
        query_scale, key_scale = projections.scales
        query, key = query * token_scale * query_scale, key * token_scale * key_scale
    head_dim = projections.head_dim
    return (
        query.view(-1, projections.num_heads, head_dim).transpose(0, 1),
        key.view(-1, projections.num_key_value_heads, head_dim).transpose(0, 1),
    )


def attention_received(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Attention each token receives: A = softmax(Q'K'^T / √d_k), mean over queries and heads (Eqs 12, 13).

    The paper's mean over axis 1 is taken over the queries: over the keys it would be 1/n for every
    token, as rows of A sum to one. The logits reach 2·10⁹, so they are formed in float32; each row's
    maximum is taken off before the division, while they are integers, which keeps the differences
    that matter to the softmax exact. The mean is summed in float64: in float32 a processor's vector
    instructions round equal tokens differently by their place in the row, and ties would break.

    Parameters
    ----------
    query
        Q', shape ``(H, n, d_k)``.
    key
        K', shape ``(H_kv, n, d_k)``; head h of the query meets head h // (H / H_kv) of the key.

    Returns
    -------
    torch.Tensor
        float32, shape ``(n,)``, sums to one.
    """
    num_heads, num_tokens, head_dim = query.shape
    group = num_heads // key.shape[0]
    received = torch.zeros(num_tokens, dtype=torch.float64, device=query.device)
    rows_at_once = max(1, _LOGITS_AT_ONCE // num_tokens)
    for head in range(num_heads):
        key_T = key[head // group].T
        for rows in query[head].split(rows_at_once):
            logits = rows @ key_T
            logits -= logits.amax(dim=1, keepdim=True)
            logits *= head_dim**-0.5
            # nearly all underflow, and exp is ten times slower where it does: zero at once
            vanishing = logits < _SMALLEST_EXPONENT
            weights = logits.clamp_(min=_SMALLEST_EXPONENT).exp_().masked_fill_(vanishing, 0.0)
            received += (1.0 / weights.sum(dim=1)).double() @ weights.double()
    return (received / (num_heads * num_tokens)).float()


def second_phase_scores(
    audio_embeds: torch.Tensor, projections: FirstLayerProjections, scale: Scale
) -> np.ndarray:
    """Phase 2 scores of the tokens given: float32, shape ``(n,)`` (Eqs 10 to 13)."""
    return attention_received(*project_signs(audio_embeds, projections, scale)).cpu().numpy()


def keep_highest(num_kept: int, *scores: np.ndarray) -> np.ndarray:
    """Indices of the ``num_kept`` tokens with the highest score, ascending (Eq 13).

    Ties in the first array of scores are broken by the second and so on, then by the earlier token:
    a saturated softmax leaves many tokens at exactly zero.
    """
    positions = np.arange(len(scores[0]))
    order = np.lexsort((positions, *(-s for s in reversed(scores))))
    return np.sort(order[:num_kept])
