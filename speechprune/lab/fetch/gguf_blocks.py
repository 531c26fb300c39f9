"""Values of GGUF's quantised tensors: Transformers' own, and a kind of block that it does not read yet."""

from __future__ import annotations

import torch
from transformers.integrations.gguf import dequant

Q5_0 = 6  # ggml's number of the type
Q5_0_BLOCK = (32, 22)  # values, bytes
QUANTISED = {*dequant.GGML_BLOCK, Q5_0}

# the reader takes the sizes of tensors from this table
dequant.GGML_BLOCK.setdefault(Q5_0, Q5_0_BLOCK)


def dequantize(blocks: torch.Tensor, ggml_type: int) -> torch.Tensor:
    """Flat bytes of a tensor, uint8, to its flat values, float32."""
    if ggml_type == Q5_0:
        return dequantize_q5_0(blocks)
    return dequant.dequantize(blocks, ggml_type, torch.float32)


def dequantize_q5_0(blocks: torch.Tensor) -> torch.Tensor:
    """Values of blocks of Q5_0, d · (q - 16).

    A block of 32 values is a scale d in float16, the fifth bits of all q in 4 bytes, and their lower four
    bits in 16 bytes, of which byte i holds those of q_i and, above them, of q_(i + 16).
    """
    values, size = Q5_0_BLOCK
    rows = blocks.reshape(-1, size)
    scale = rows[:, :2].contiguous().view(torch.float16).float()
    bit = torch.arange(8, dtype=torch.uint8, device=blocks.device)
    high = (rows[:, 2:6, None] >> bit & 1).reshape(-1, values)
    low = torch.cat([rows[:, 6:] & 15, rows[:, 6:] >> 4], dim=1)
    return (scale * ((low | high << 4).float() - 16)).flatten()
