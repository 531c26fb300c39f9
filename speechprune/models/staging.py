"""Host memory that is copied to a device without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def staging_zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros on the host to be filled and sent by ``.to(device, non_blocking=True)``; pinned for a GPU.

    A buffer serves one copy: torch keeps its memory until the copy is done, but what is written into it after
    the call may be what arrives. ``to`` a CPU returns the buffer itself.
    """
    return torch.zeros(tuple(shape), dtype=dtype, pin_memory=device.type == "cuda")
