"""Phase 2 of SpeechPrune: attention of the first layer, estimated from signs (Eqs 10 to 13).

Shapes: S (n, D) the survivors of phase 1, W_Q (H·d_k, D) and W_K (H_kv·d_k, D) as Hugging Face
stores them, H query heads, H_kv key heads of d_k dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from speechprune.pruning.transfers import is_queued

Scale = Literal["sign", "xnor"]

_SMALLEST_EXPONENT = -87.0  # e^-87 is about float32's smallest normal number
_LOGITS_AT_ONCE = 1 << 24  # elements of the (heads, rows, n) logits held at a time: 64 MiB
_LOGITS_AT_ONCE_ON_A_GPU = 1 << 25  # 128 MiB, all heads of 750 tokens: fewer kernels to launch


def sign(values: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """±1, sign(0) = +1 (Eq 10)."""
    return torch.where(values >= 0, torch.ones((), dtype=dtype, device=values.device), -1.0)


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
    def signs(self) -> torch.Tensor:
        """W_Q and W_K through sign, side by side: ``(D, (H + H_kv)·d_k)``; made once a model.

        In bfloat16 on a GPU, whose products of ±1 are exact and summed in float32.
        """
        weights = torch.cat([self.query_weight, self.key_weight])
        return sign(weights, torch.bfloat16 if is_queued(weights) else torch.float32).T.contiguous()

    @cached_property
    def scales(self) -> torch.Tensor:
        """Mean absolute weight of every column of ``signs`` (XNOR-Net, arXiv 1603.05279)."""
        return torch.cat([self.query_weight, self.key_weight]).float().abs().mean(dim=1)


def project_signs(
    audio_embeds: torch.Tensor, projections: FirstLayerProjections, scale: Scale
) -> tuple[torch.Tensor, torch.Tensor]:
    """Q' = S^b W_Q^b and K' = S^b W_K^b, split into heads (Eqs 10, 11).

    Sums of ±1 are integers of at most D, exact in float32 in any order of summation. ``xnor``
    multiplies by the mean absolute values of each token and each output dimension.

    Returns
    -------
    tuple
        Q' ``(..., H, n, d_k)`` and K' ``(..., H_kv, n, d_k)`` of S ``(..., n, D)``, float32; on a GPU float16
        where it holds them exactly.
    """
    num_dimensions, signs = audio_embeds.shape[-1], projections.signs
    projected = exact_product(sign(audio_embeds, signs.dtype), signs)
    if scale == "xnor":
        projected = projected * audio_embeds.float().abs().mean(dim=-1, keepdim=True) * projections.scales
    elif is_queued(signs) and (
        num_dimensions <= 2048 or (num_dimensions <= 4096 and num_dimensions % 2 == 0)
    ):
        projected = projected.half()  # 11 bits: whole numbers up to 2,048, even ones up to 4,096
    heads = projected.unflatten(-1, (-1, projections.head_dim)).transpose(-3, -2)
    query, key = heads.split([projections.num_heads, projections.num_key_value_heads], dim=-3)
    return query, key


def exact_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Product a·b in float32, of ``(..., rows, d)`` by ``(d, columns)`` or of batches of matrices.

    Exact for whole numbers whose partial sums stay below 2²⁴.
    """
    if a.dtype == torch.float32:
        return a @ b
    # half precision, which comes from a GPU alone
    if b.dim() == 3:
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.mm(a.flatten(0, -2), b, out_dtype=torch.float32).unflatten(0, a.shape[:-1])


def attention_received(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Attention each token receives: A = softmax(Q'K'^T / √d_k), mean over queries and heads (Eqs 12, 13).

    The paper's mean over axis 1 is taken over the queries: over the keys it would be 1/n for every
    token, as rows of A sum to one. The logits reach 2·10⁹, so they are formed in float32; each row's
    maximum is taken off before the division, while they are integers, which keeps the differences
    that matter to the softmax exact.

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
    num_heads, num_tokens, _ = query.shape
    received = received_in_batches(query, key) if is_queued(query) else received_by_head(query, key)
    return (received / (num_heads * num_tokens)).float()


def received_by_head(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Sum of A over queries and heads, ``(n,)``, head by head: for a processor's caches and slow exp.

    Summed in float64: in float32 a processor's vector instructions round equal tokens differently by their
    place in the row, and ties would break.
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
    return received


def received_in_batches(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Sum of A over queries and heads, ``(n,)``, many heads at a time: in few passes over a GPU's memory."""
    num_tokens, head_dim = query.shape[1:]
    # the query heads of a group share a key head: one under the other
    query = query.reshape(len(key), -1, head_dim)
    heads_at_once = max(1, _LOGITS_AT_ONCE_ON_A_GPU // (query.shape[1] * num_tokens))
    rows_at_once = max(1, _LOGITS_AT_ONCE_ON_A_GPU // (heads_at_once * num_tokens))
    received = []
    for some_queries, some_keys in zip(query.split(heads_at_once), key.split(heads_at_once), strict=True):
        key_T = some_keys.transpose(1, 2)
        for rows in some_queries.split(rows_at_once, dim=1):
            logits = exact_product(rows, key_T)
            logits -= logits.amax(dim=2, keepdim=True)
            logits *= head_dim**-0.5
            # every key's column is summed in the same order: equal tokens stay equal
            received.append(logits.softmax(dim=2).sum(dim=1))
    return torch.cat(received).sum(dim=0, dtype=torch.float64)


def second_phase_scores(
    audio_embeds: torch.Tensor, projections: FirstLayerProjections, scale: Scale
) -> torch.Tensor:
    """Phase 2 scores of the tokens given: float32, of S ``(n, D)`` ``(n,)``, of ``(Q, n, D)`` ``(Q, n)``."""
    query, key = project_signs(audio_embeds, projections, scale)
    if audio_embeds.dim() == 2:
        return attention_received(query, key)
    return torch.stack([attention_received(*own) for own in zip(query, key, strict=True)])


def keep_highest(num_kept: int, *scores: torch.Tensor) -> torch.Tensor:
    """Indices of the ``num_kept`` tokens with the highest score, ascending (Eq 13); ``(..., n)`` each.

    Ties in the first row of scores are broken by the second and so on, then by the earlier token:
    a saturated softmax leaves many tokens at exactly zero.
    """
    order = scores[-1].argsort(dim=-1, descending=True, stable=True)
    for own in reversed(scores[:-1]):
        better = own.gather(-1, order).argsort(dim=-1, descending=True, stable=True)
        order = order.gather(-1, better)
    return order[..., :num_kept].sort(dim=-1).values
