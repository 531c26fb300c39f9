"""How often a recording has killed its worker: the one thing a dead worker can't say itself.

Ray retries what a dead worker was doing, for ever. Each stage therefore notes in this actor what it
begins and what it has ended; what was begun and never ended has killed a worker, and is given up
after a number of attempts.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

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
