"""Text tokens as vectors in the space of the stored states, for searches that need no model to score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from speechprune.models.base import SpeechModel

_SMALLEST = 1e-12
_TOKENS_PER_CHUNK = 8192  # embedded at a time: all of a vocabulary would be gigabytes


@torch.inference_mode()
def word_vectors(model: SpeechModel, token_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (Pᵀt_v, b · t_v) of text tokens v: with S = x Pᵀ + b, cos(S_i, T_v) is their product with
    (x_i, 1) / ‖S_i‖.

    Returns
    -------
    tuple of ndarray
        Directions, float32, ``(V, d)``, and offsets, float32, ``(V,)``.
    """
    weight, bias = model.projector
    if bias is None:
        bias = torch.zeros(len(weight))
    directions, offsets = [], []
    for first in range(0, len(token_ids), _TOKENS_PER_CHUNK):
        embeds = model.embed_tokens(list(token_ids[first : first + _TOKENS_PER_CHUNK])).float()
        embeds = embeds / embeds.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST)
        directions.append((embeds @ weight.float().to(embeds.device)).cpu().numpy())
        offsets.append((embeds @ bias.float().to(embeds.device)).cpu().numpy())
    return np.concatenate(directions), np.concatenate(offsets)
