"""Times of what Whisper writes, from what its decoder attends to while it writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch


class AlignmentHeads:
    """The attention heads of a decoder that follow the sound: ``alignment_heads`` in a generation config.

    Their queries and keys are collected while ``generate`` runs, so that no second forward is needed.
    ``generate(return_token_timestamps=True)`` is not used: it gives a token the time of the query that reads
    it, which is the time of the next one.

    - ``model``: a loaded ``WhisperForConditionalGeneration``.
    - ``heads``: layer and number of each.
    """

    def __init__(self, model: Any, heads: Sequence[tuple[int, int]]) -> None:
        self._heads = heads
        self._head_size = model.config.d_model // model.config.decoder_attention_heads
        self._filter_width = model.config.median_filter_width
        self._queries: dict[int, list[torch.Tensor]] = {}
        self._keys: dict[int, list[torch.Tensor]] = {}
        for layer in sorted({layer for layer, _ in heads}):
            attention = model.get_decoder().layers[layer].encoder_attn
            attention.q_proj.register_forward_hook(partial(_collect, self._queries, layer))
            attention.k_proj.register_forward_hook(partial(_collect, self._keys, layer))

    def clear(self) -> None:
        """Forget what was collected: to be called before each ``generate``."""
        self._queries.clear()
        self._keys.clear()

    def attention(self, row: int, num_tokens: int, num_positions: int) -> np.ndarray:
        """Attention from the written tokens of a row to the encoder's positions.

        A token's own row is that of the query which predicts it. softmax(q kᵀ / √d) of each head,
        standardised over the tokens, smoothed by a median over neighbouring positions, then averaged over the
        heads.

        Returns
        -------
        np.ndarray
            float64, ``(num_tokens, num_positions)``; a position is 20 ms.
        """
        from transformers.models.whisper.generation_whisper import _median_filter

        queries, keys = [], []
        for layer, head in self._heads:
            own = slice(head * self._head_size, (head + 1) * self._head_size)
            prompt, *steps = self._queries[layer]
            read = [prompt[row, -1:, own], *(step[row, :, own] for step in steps[: num_tokens - 1])]
            queries.append(torch.cat(read))
            keys.append(self._keys[layer][0][row, :, own])
        logits = torch.stack(queries).float() @ torch.stack(keys).float().mT
        weights = (logits / self._head_size**0.5).softmax(-1)[..., :num_positions]
        deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
        standard = (weights - mean) / deviation.clamp_min(torch.finfo(torch.float32).tiny)
        smooth = _median_filter(standard[None], self._filter_width)[0]
        attention: np.ndarray = smooth.mean(dim=0).double().cpu().numpy()
        return attention

    def flops(self, num_tokens: int, num_positions: int) -> int:
        """FLOPs of ``attention`` beyond the decoder's own: 2 · heads · w · P · d."""
        return 2 * len(self._heads) * num_tokens * num_positions * self._head_size


def _collect(
    outputs: dict[int, list[torch.Tensor]], layer: int, module: Any, inputs: Any, output: torch.Tensor
) -> None:
    outputs.setdefault(layer, []).append(output)


def begin_positions(attention: np.ndarray) -> np.ndarray:
    """Align tokens to positions by dynamic time warping: both in order, along the most attention.

    Parameters
    ----------
    attention
        Shape ``(tokens, positions)``, none empty.

    Returns
    -------
    np.ndarray
        The position at which each token begins, never decreasing; the first is 0.
    """
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping

    tokens, positions = _dynamic_time_warping(-attention)
    begins: np.ndarray = positions[np.flatnonzero(np.diff(tokens, prepend=-1))]
    return begins
