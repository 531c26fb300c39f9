"""Measured cost: seconds of a stage and the peak of memory within it."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator, Mapping

import torch


class Timer:
    """Seconds from when it was made to ``stop``; on a GPU of the work queued in between, without waiting.

    ``num_sharing``: how many share them evenly; ``seconds`` is the share of one.
    """

    def __init__(self, device: torch.device, num_sharing: int = 1) -> None:
        self._device = device
        self._num_sharing = num_sharing
        self._made = time.perf_counter()
        self._start = self._mark()
        self._end: float | torch.cuda.Event | None = None

    def stop(self) -> None:
        """Set the end."""
        self._end = self._mark()

    def seconds(self) -> float:
        """Elapsed seconds, until now without ``stop``; on a GPU the end is waited for."""
        end = self._mark() if self._end is None else self._end
        if isinstance(self._start, float):
            assert isinstance(end, float)
            return (end - self._start) / self._num_sharing
        assert isinstance(end, torch.cuda.Event)
        end.synchronize()
        return self._start.elapsed_time(end) / 1000 / self._num_sharing

    def seconds_until(self, moment: float) -> float:
        """Seconds, not shared, to a ``perf_counter`` reading; on a GPU with nothing queued at the start."""
        return moment - self._made

    def _mark(self) -> float | torch.cuda.Event:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


class SecondsByName(Mapping[str, float]):
    """Seconds of stopped timers, read when they are asked for."""

    def __init__(self, timers: Mapping[str, Timer]) -> None:
        self._timers = timers

    def __getitem__(self, name: str) -> float:
        return self._timers[name].seconds()

    def __iter__(self) -> Iterator[str]:
        return iter(self._timers)

    def __len__(self) -> int:
        return len(self._timers)


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
