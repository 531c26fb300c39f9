"""CUDA graphs: of a decoding step, and of the encoder's compiled layers.

A step of a decoder with 32 layers launches some 1,500 kernels. From Python that takes longer than the GPU
needs to run them; a graph launches all of them at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakSet

import torch

WARM_UP_STEPS = 1  # what kernels load or allocate at their first use can't be captured

_waiting: WeakSet[Any] = WeakSet()  # decoders whose step was found to wait for the device
_failed: list[torch.cuda.CUDAGraph] = []  # kept, since torch's allocator goes on pointing to them


class GraphedStep:
    """A step that is called many times: run as it is at first, then captured, then replayed.

    Where no graph can be made of it, the step goes on as it is, and a warning gives the reason. A step that
    waits for the device is found before it is captured, since a failed capture leaves torch's allocator and
    random generators in the middle of one: after it, no other is tried in this process.

    - ``step``: changes tensors in place, and calls the same kernels on tensors of the same shapes each time.
    - ``decoder``: for which a reason is remembered.
    """

    def __init__(self, step: Callable[[], None], decoder: Any, device: torch.device) -> None:
        self._step, self._decoder, self._device = step, decoder, device
        self._run = step
        self._num_calls = 0

    def __call__(self) -> None:
        """Run one step."""
        self._num_calls += 1
        if not _failed and self._decoder not in _waiting:
            if self._num_calls <= WARM_UP_STEPS:
                self._warm_up()
                return
            if self._num_calls == WARM_UP_STEPS + 1:
                self._run = self._captured()
        self._run()

    def _warm_up(self) -> None:
        with _side_stream(self._device):
            place = _place_of_wait(self._step)
        if place:
            _waiting.add(self._decoder)
            self._warn(f"waits for the device at {place}")

    def _captured(self) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        try:
            return _capture(graph, self._step, self._device)
        except torch.OutOfMemoryError:
            raise  # half the batch may fit
        except RuntimeError as error:
            _failed.append(graph)
            self._warn(f"can't be captured ({error})")
            return self._step

    def _warn(self, reason: str) -> None:
        name = type(self._decoder).__name__
        warnings.warn(
            f"generation goes on without a CUDA graph, which is slower: a step of {name} {reason}",
            RuntimeWarning,
            stacklevel=2,
        )


class GraphedCall:
    """A function of one tensor, always of one shape, replayed from a CUDA graph."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor) -> None:
        self._argument = example.clone()
        with _side_stream(example.device):
            function(self._argument)  # what kernels load or allocate at their first use can't be captured
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=_capture_stream(example.device)):
            self._result = function(self._argument)

    def __call__(self, argument: torch.Tensor) -> torch.Tensor:
        """Return the function's result, a tensor of its own."""
        self._argument.copy_(argument)
        self._graph.replay()
        return self._result.clone()


def _capture(
    graph: torch.cuda.CUDAGraph, step: Callable[[], None], device: torch.device
) -> Callable[[], None]:
    """Record the kernels of a step without running them; returns what runs them."""
    stream = _capture_stream(device)
    with (
        _side_stream(device),  # torch.cuda.graph doesn't leave the stream of a capture that fails
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        step()
    return graph.replay


def _place_of_wait(step: Callable[[], None]) -> str | None:
    """Run a step and return the line of code, if any, that waited for the device."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    waits = [one for one in caught if "synchronizing CUDA operation" in str(one.message)]
    return f"{waits[0].filename}:{waits[0].lineno}" if waits else None


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Queue what is inside on the stream of captures: after what is queued already, before what follows."""
    current, side = torch.cuda.current_stream(device), _capture_stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)


@cache  # cuBLAS keeps a workspace for every stream that it has seen
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
