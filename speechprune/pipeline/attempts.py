"""How often a recording has killed its worker: the one thing a dead worker can't say itself.

Ray retries what a dead worker was doing, for ever. Each stage therefore notes in this actor what it
begins and what it has ended; what was begun and never ended has killed a worker, and is given up
after a number of attempts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray

from speechprune.pipeline.failures import WorkerKilled


class AttemptLedger:
    """Counts of attempts that were begun and not ended; runs as an actor on the driver's behalf."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def open_attempts(self, keys: list[str]) -> list[int]:
        """How many attempts at each key have not ended."""
        return [self._open[key] for key in keys]

    def begin(self, keys: list[str]) -> None:
        """Note that work on the keys starts now."""
        self._open.update(keys)

    def end(self, keys: list[str]) -> None:
        """Note that it is over, well or badly, and the worker alive."""
        for key in keys:
            del self._open[key]


class Attempts:
    """What a stage sees of the ledger.

    Parameters
    ----------
    ledger
        Handle of the ``AttemptLedger`` actor.
    stage
        Attempts of one stage don't count against another.
    """

    def __init__(self, ledger: Any, stage: str) -> None:
        self._ledger = ledger
        self._stage = stage

    def open_attempts(self, task_ids: list[str]) -> list[int]:
        """See ``AttemptLedger``."""
        counts: list[int] = ray.get(self._ledger.open_attempts.remote(self._keys(task_ids)))
        return counts

    def __call__(self, *task_ids: str) -> _Attempt:
        """``with attempts(task_id): ...`` around work that may kill the process."""
        return _Attempt(self._ledger, self._keys(list(task_ids)))

    def _keys(self, task_ids: list[str]) -> list[str]:
        return [f"{self._stage}:{task_id}" for task_id in task_ids]


class _Attempt:
    def __init__(self, ledger: Any, keys: list[str]) -> None:
        self._ledger, self._keys = ledger, keys

    def __enter__(self) -> None:
        ray.get(self._ledger.begin.remote(self._keys))

    def __exit__(self, *_: object) -> None:
        ray.get(self._ledger.end.remote(self._keys))


def give_up_on_killers(attempts: Attempts, task: dict[str, Any], max_attempts: int, doing: str) -> None:
    """Raise ``WorkerKilled`` for a recording that has used up its attempts."""
    (num_open,) = attempts.open_attempts([task["task_id"]])
    if num_open >= max_attempts:
        raise WorkerKilled(
            f"{doing} {task['audio']} killed its worker in {num_open} attempt{'s' if num_open > 1 else ''}: "
            "look at the file, or give workers more memory"
        )


class Guard:
    """Work of an actor on several recordings at once, of which one may kill it.

    Parameters
    ----------
    ledger, max_attempts
        See ``AttemptLedger``.
    stage
        Its name in the ledger.
    doing
        In words, for the sentence about a killer.
    """

    def __init__(self, ledger: Any, max_attempts: int, *, stage: str, doing: str) -> None:
        self._together = Attempts(ledger, f"{stage} together")
        self._alone = Attempts(ledger, f"{stage} alone")
        self._max_attempts = max_attempts
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
            give_up_on_killers(self._alone, task, self._max_attempts, self._doing)
        except WorkerKilled as error:
            return fail(task, error)
        with self._alone(task["task_id"]):
            return work([task])
