"""Copies between host and device that are queued behind the device's work, where plain copies wait for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def is_queued(tensor: torch.Tensor) -> bool:
    """Whether work on a tensor is queued on a device, so that reading a value waits for all of it."""
    return tensor.device.type != "cpu"


def upload(values: torch.Tensor | np.ndarray | Sequence[int], device: torch.device) -> torch.Tensor:
    """Bring values to a device as a tensor; one that is there already comes back as it is."""
    tensor = torch.as_tensor(values)
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()  # from other memory a copy is never queued
    return tensor.to(device, non_blocking=True)


class Download:
    """A copy of a tensor to the host; only reading it waits, and for no work that was queued later."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values.to("cpu", non_blocking=True)
        self._is_there: torch.cuda.Event | None = None
        if values.is_cuda:
            self._is_there = torch.cuda.Event()
            self._is_there.record(torch.cuda.current_stream(values.device))

    def numpy(self) -> np.ndarray:
        """The values."""
        if self._is_there is not None:
            self._is_there.synchronize()
        return self._values.numpy()
