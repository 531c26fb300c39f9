"""A GPU that captures graphs, simulated on the CPU operator by operator.

As in a real graph, the addresses of a step's tensors and the host's numbers stay as they were at the capture;
capturing runs nothing; a value read on the host fails the capture.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from speechprune.models import cuda_graphs, generation

READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::item", "aten::is_nonzero", "aten::equal"}


class SimulatedGraph(TorchDispatchMode):
    """Captures the operators that run inside it; ``replay`` runs them again into the same tensors."""

    is_capturing = False

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple, dict, list[torch.Tensor]]] = []
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in READS:
            raise RuntimeError("operation not permitted when stream is capturing")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.is_write and isinstance(value, torch.Tensor):
                self._before.setdefault(id(value), (value, value.clone()))
        result = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, _tensors(result)))
        return result

    def __enter__(self):
        SimulatedGraph.is_capturing = True
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        SimulatedGraph.is_capturing = False
        for tensor, value in reversed(self._before.values()):
            tensor.copy_(value)

    def replay(self) -> None:
        for func, args, kwargs, results in self._calls:
            for kept, new in zip(results, _tensors(func(*args, **kwargs)), strict=True):
                if kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


class _Reads(TorchDispatchMode):
    place: str | None = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in READS:
            self.place = func._schema.name
        return func(*args, **(kwargs or {}))


def simulate_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Generate as on a GPU; returns a list that grows by the steps that have been captured."""
    captured: list[Callable[[], None]] = []

    def capture(graph: SimulatedGraph, step: Callable[[], None], device: torch.device) -> Callable[[], None]:
        captured.append(step)
        with graph:
            step()
        return graph.replay

    def place_of_wait(step: Callable[[], None]) -> str | None:
        with _Reads() as reads:
            step()
        return reads.place

    monkeypatch.setattr(generation, "is_on_gpu", lambda model: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimulatedGraph)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: SimulatedGraph.is_capturing)
    monkeypatch.setattr(cuda_graphs, "_side_stream", lambda device: nullcontext())
    monkeypatch.setattr(cuda_graphs, "_capture", capture)
    monkeypatch.setattr(cuda_graphs, "_place_of_wait", place_of_wait)
    return captured


def forget_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start as in a new process, and leave this one without a trace."""
    monkeypatch.setattr(cuda_graphs, "_failed", [])
    monkeypatch.setattr(cuda_graphs, "_waiting", WeakSet())


def _tensors(result: Any) -> list[torch.Tensor]:
    return [value for value in tree_flatten(result)[0] if isinstance(value, torch.Tensor)]
