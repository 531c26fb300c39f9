"""A Ray cluster of several nodes on this machine, with faults that can be injected into it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MODEL_WORKER = "ray::MapWorker"  # Ray's name for processes of the stage with the model
POLL_SECONDS = 0.2
JOB = Path(__file__).parents[3] / "jobs" / "batch_qa.py"  # the job that runs on them
FILLING_BYTES = 8 << 20  # size of one array


class LocalCluster:
    """A head without CPUs and some workers: separate Ray nodes, all processes of this machine.

    Parameters
    ----------
    num_workers
        Number of nodes beside the head.
    cpus_per_worker
        CPUs that Ray counts for each. It keeps as many idle processes, and no more.
    object_store_bytes
        Shared memory of each node.
    """

    def __init__(
        self, num_workers: int, *, cpus_per_worker: int = 1, object_store_bytes: int = 300_000_000
    ) -> None:
        self._settings = {"object_store_memory": object_store_bytes}
        self._cpus_per_worker = cpus_per_worker
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **self._settings},
        )
        self.workers: list[Any] = []
        for _ in range(num_workers):
            self.add_worker()

    @property
    def address(self) -> str:
        """The value for RAY_ADDRESS."""
        address: str = self._cluster.address
        return address

    def add_worker(self) -> None:
        """Add one node."""
        self.workers.append(self._cluster.add_node(num_cpus=self._cpus_per_worker, **self._settings))

    def remove_worker(self) -> None:
        """Kill a node with all of its processes, as when a spot node is reclaimed."""
        node = self.workers.pop()
        processes = _raylet(node).children(recursive=True)
        self._cluster.remove_node(node, allow_graceful=False)
        _kill(processes)

    def kill_model_worker(self) -> None:
        """Kill one of the processes that hold the model."""
        os.kill(self.model_workers()[0].pid, signal.SIGKILL)

    def model_workers(self) -> list[psutil.Process]:
        """All processes that hold the model."""
        return [process for process in self.processes() if _is_called(process, MODEL_WORKER)]

    def processes(self) -> list[psutil.Process]:
        """All processes of the worker nodes, with the raylets."""
        found = []
        for raylet in self.raylets():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [raylet, *raylet.children(recursive=True)]
        return found

    def raylets(self) -> list[psutil.Process]:
        """The raylet of each node, the parent of its worker processes."""
        found = []
        for node in self.workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(_raylet(node))
        return found

    def kill_head(self) -> None:
        """Kill the head's processes, which hold the cluster's state."""
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)

    def close(self) -> None:
        """Stop all nodes."""
        processes = self.processes()
        for node in self.workers:
            self._cluster.remove_node(node, allow_graceful=False)
        if self._cluster.head_node is not None:
            self.kill_head()
        _kill(processes)
        self._cluster.shutdown()  # so that other programs don't look for it

    @contextlib.contextmanager
    def filled_object_store(self, bytes_per_node: int) -> Iterator[None]:
        """Occupy this much of every node's shared memory; what doesn't fit is spilled to disk."""
        ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            holders = [
                ray.remote(_Holder)
                .options(
                    num_cpus=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
                )
                .remote()
                for node in self.workers
            ]
            ray.get([one.hold.remote(bytes_per_node) for one in holders])
            yield
        finally:
            ray.shutdown()


class _Holder:
    """Holds objects in the shared memory of its node."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def hold(self, num_bytes: int) -> None:
        self._held = [ray.put(bytes(FILLING_BYTES)) for _ in range(num_bytes // FILLING_BYTES)]


def wait_until(happened: Callable[[], bool], *, unless: Callable[[], bool], seconds: float = 600.0) -> None:
    """Wait until ``happened`` is true.

    Raises
    ------
    RuntimeError
        ``unless`` became true first, or the time is up.
    """
    give_up = time.monotonic() + seconds
    while not happened():
        if unless() or time.monotonic() > give_up:
            raise RuntimeError("what was waited for did not happen")
        time.sleep(POLL_SECONDS)


def _raylet(node: Any) -> psutil.Process:
    [raylet] = node.all_processes["raylet"]
    return psutil.Process(raylet.process.pid)


def _is_called(process: psutil.Process, name: str) -> bool:
    try:
        return any(part.startswith(name) for part in process.cmdline())
    except psutil.Error:
        return False


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
