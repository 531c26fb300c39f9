"""Time on a device, and a limit of time for a part of the benchmark."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from statistics import median
from types import FrameType
from typing import Any

import torch


class PartTimeout(BaseException):
    """A part used up its seconds; no ``except Exception`` inside it may swallow that."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``PartTimeout`` in the block once its seconds are over."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise PartTimeout

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def synchronize(device: torch.device) -> None:
    """Wait for the device's queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(device: torch.device, run: Callable[[], Any], repeats: int, warmups: int = 1) -> float:
    """Median seconds of a call, from its start until the device has done all that it queued."""
    for _ in range(warmups):
        run()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times)


def queued_seconds(device: torch.device, run: Callable[[], Any], repeats: int) -> float:
    """Mean seconds of a call among several queued at once: the device's time without gaps between calls."""
    run()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def reset_peak(device: torch.device) -> None:
    """Forget the peak of the device's memory, and free what is cached."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gigabytes(device: torch.device) -> float | None:
    """Peak of allocated device memory since ``reset_peak``, GB of 10⁹ bytes; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
