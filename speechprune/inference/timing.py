"""Measured cost: seconds of a stage and the peak of memory within it."""

from __future__ import annotations

import contextlib
import resource
import time

import torch


class Timer:
    """Seconds since it was made; on a GPU the queued work is waited for first."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def seconds(self) -> float:
        """Elapsed seconds."""
        return self._now() - self._start

    def seconds_until(self, moment: float) -> float:
        """Seconds from the start to a ``perf_counter`` reading."""
        return moment - self._start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class PeakMemory:
    """Peak memory since it was made: of the device on CUDA, of this process on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        # Linux resets the process's high-water mark on this write; elsewhere the peak is since its start
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")

    def bytes(self) -> int:
        """Peak so far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        with contextlib.suppress(OSError), open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
