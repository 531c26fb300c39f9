"""How often a recording has killed its worker: the one thing a dead worker can't say itself.

Ray retries what a dead worker was doing, for ever. Each stage therefore notes in this actor what it
begins and what it has ended; what was begun and never ended has killed a worker, and is given up
after a number of attempts. A worker that hangs is made to die: the interpreter's own watchdog ends it,
whatever the code that hangs holds on to.
"""

from __future__ import annotations

import contextlib
import faulthandler
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from speechprune.pipeline.failures import WorkerKilled


class AttemptLedger:
    """Counts of attempts that were begun and not ended; runs as an actor on the driver's behalf."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._begun: dict[str, float] = {}

    def open_attempts(self, keys: list[str]) -> list[int]:
        """How many attempts at each key have not ended."""
        return [self._open[key] for key in keys]

    def seconds_open(self, key: str) -> float:
        """Since the last attempt at a key began."""
        return time.monotonic() - self._begun.get(key, time.monotonic())

    def begin(self, keys: list[str]) -> None:
        """Note that work on the keys starts now."""
        self._open.update(keys)
        self._begun |= dict.fromkeys(keys, time.monotonic())

    def end(self, keys: list[str]) -> None:
        """Note that it is over, well or badly, and the worker alive."""
        for key in keys:
            del self._open[key]
            self._begun.pop(key, None)  # a night has many recordings


def start_ledger() -> Any:
    """A ledger for one run, on the driver's node; were it lost all the same, it begins anew with no attempts.

    Anywhere else it would end the run with whichever node it lies on.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    lasting = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(AttemptLedger).options(scheduling_strategy=here, **lasting).remote()


@dataclass(frozen=True)
class Limits:
    """How long a recording is borne with, and with what appetite.

    Parameters
    ----------
    max_attempts
        Workers that it may kill.
    max_seconds
        In one attempt at one stage; then the worker is ended, and the attempt counts as a kill. None: for
        ever.
    max_decode_gb
        Memory that decoding it may take. None: all there is.
    """

    max_attempts: int
    max_seconds: float | None = None
    max_decode_gb: float | None = None


class Attempts:
    """What a stage sees of the ledger.

    Parameters
    ----------
    ledger
        Handle of the ``AttemptLedger`` actor.
    stage
        Attempts of one stage don't count against another.
    max_seconds
        See ``Limits``; times the number of recordings that are tried together.
    """

    def __init__(self, ledger: Any, stage: str, max_seconds: float | None = None) -> None:
        self._ledger = ledger
        self._stage = stage
        self._max_seconds = max_seconds

    def open_attempts(self, task_ids: list[str]) -> list[int]:
        """See ``AttemptLedger``."""
        counts: list[int] = ray.get(self._ledger.open_attempts.remote(self._keys(task_ids)))
        return counts

    def seconds_open(self, task_id: str) -> float:
        """See ``AttemptLedger``."""
        (key,) = self._keys([task_id])
        seconds: float = ray.get(self._ledger.seconds_open.remote(key))
        return seconds

    @contextlib.contextmanager
    def __call__(self, *task_ids: str) -> Iterator[None]:
        """``with attempts(task_id): ...`` around work that may kill the process, or never end."""
        keys = self._keys(list(task_ids))
        ray.get(self._ledger.begin.remote(keys))
        if self._max_seconds is not None:
            faulthandler.dump_traceback_later(self._max_seconds * len(keys), exit=True)
        try:
            yield
        finally:
            if self._max_seconds is not None:
                faulthandler.cancel_dump_traceback_later()
            ray.get(self._ledger.end.remote(keys))

    def _keys(self, task_ids: list[str]) -> list[str]:
        return [f"{self._stage}:{task_id}" for task_id in task_ids]


def give_up_on_killers(attempts: Attempts, task: dict[str, Any], limits: Limits, doing: str) -> None:
    """Raise ``WorkerKilled`` for a recording that has used up its attempts."""
    (num_open,) = attempts.open_attempts([task["task_id"]])
    if num_open < limits.max_attempts:
        return
    times = f"in {num_open} attempt{'s' if num_open > 1 else ''}"
    if limits.max_seconds is not None and attempts.seconds_open(task["task_id"]) >= limits.max_seconds:
        raise WorkerKilled(
            f"{doing} {task['audio']} was not done after {limits.max_seconds:g} s {times}: look at the file, "
            "or raise ray.max_seconds_per_recording"
        )
    raise WorkerKilled(
        f"{doing} {task['audio']} killed its worker {times}: look at the file, or give workers more memory"
    )


class Guard:
    """Work of an actor on several recordings at once, of which one may kill it.

    Parameters
    ----------
    ledger, limits
        See ``AttemptLedger`` and ``Limits``.
    stage
        Its name in the ledger.
    doing
        In words, for the sentence about a killer.
    """

    def __init__(self, ledger: Any, limits: Limits, *, stage: str, doing: str) -> None:
        self._together = Attempts(ledger, f"{stage} together", limits.max_seconds)
        self._alone = Attempts(ledger, f"{stage} alone", limits.max_seconds)
        self._limits = limits
        self._doing = doing

    def __call__(
        self,
        tasks: list[dict[str, Any]],
        work: Callable[[list[dict[str, Any]]], pa.Table],
        fail: Callable[[dict[str, Any], Exception], pa.Table],
    ) -> pa.Table:
        """Rows of all tasks, by ``work``, or by ``fail`` for those that have used up their attempts."""
        task_ids = [task["task_id"] for task in tasks]
        if len(tasks) == 1 or any(self._together.open_attempts(task_ids)):
            # one of them killed a worker: apart, the guilty one shows itself and the others go on
            return pa.concat_tables([self._work_alone(task, work, fail) for task in tasks])
        with self._together(*task_ids):
            return work(tasks)

    def _work_alone(
        self,
        task: dict[str, Any],
        work: Callable[[list[dict[str, Any]]], pa.Table],
        fail: Callable[[dict[str, Any], Exception], pa.Table],
    ) -> pa.Table:
        try:
            give_up_on_killers(self._alone, task, self._limits, self._doing)
        except WorkerKilled as error:
            return fail(task, error)
        with self._alone(task["task_id"]):
            return work([task])
