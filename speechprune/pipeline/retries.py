"""How often a recording has killed its worker: the one thing that a dead worker can't report itself.

Ray retries what a dead worker was doing, for ever. Each stage therefore notes in one actor what it starts and
what it has ended; what was started and never ended has killed a worker, and is given up after a number of
attempts. A worker that hangs ends itself, after it has noted that time was the reason; where no other thread
can run, the interpreter's own watchdog ends it a little later, and it counts as killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from speechprune.data import column_values
from speechprune.pipeline.failures import (
    CodeError,
    FailureLog,
    PoisonedRecording,
    UnexpectedError,
    UnexpectedErrors,
    code_error,
)
from speechprune.pipeline.metrics import count_answers
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.progress import Activity
from speechprune.pipeline.stages import failed_recording

if TYPE_CHECKING:
    from speechprune.models.options import ModelOptions

NOTE_SECONDS = 30.0  # a worker's time to note that it hangs, before it is ended without a note


class AttemptTracker:
    """Attempts that were started and not ended, and what failed unexpectedly; runs as one actor of a run."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._overtime: set[str] = set()
        self._in_work: dict[str, tuple[str, str, float]] = {}  # stage, recording and start by task
        self._errors = UnexpectedErrors()
        self._code_error: CodeError | None = None

    def open_attempts(self, stage: str, task_ids: list[str]) -> list[int]:
        """How many attempts at each task have not ended."""
        return [self._open[f"{stage}:{task_id}"] for task_id in task_ids]

    def note_overtime(self, stage: str, task_ids: list[str]) -> None:
        """Note that the attempt at some tasks is ended because it takes too long."""
        self._overtime |= {f"{stage}:{task_id}" for task_id in task_ids}

    def was_overtime(self, stage: str, task_id: str) -> bool:
        """Whether the last attempt at a task was ended because it took too long."""
        return f"{stage}:{task_id}" in self._overtime

    def begin(self, stage: str, recordings: Mapping[str, str]) -> None:
        """Note that work on some tasks starts now; ``recordings`` are their names, by task."""
        now = time.monotonic()
        for task_id, name in recordings.items():
            self._open[f"{stage}:{task_id}"] += 1
            self._overtime.discard(f"{stage}:{task_id}")
            self._in_work[task_id] = (stage, name, now)

    def end(self, stage: str, task_ids: list[str]) -> None:
        """Note that it is over, well or badly, and the worker alive."""
        for task_id in task_ids:
            del self._open[f"{stage}:{task_id}"]
            self._in_work.pop(task_id, None)

    def activity(self) -> Activity:
        """Describe what is in work now; what a dead worker had stays in work until it is retried."""
        now = time.monotonic()
        _, name, start = min(self._in_work.values(), key=lambda one: one[2], default=("", None, now))
        num_decoding = sum(stage == "decode" for stage, _, _ in self._in_work.values())
        return Activity(
            num_decoding=num_decoding,
            num_with_model=len(self._in_work) - num_decoding,
            longest=name,
            longest_seconds=now - start,
        )

    def note_unexpected(self, task_id: str, error: UnexpectedError) -> None:
        """Keep an unexpected exception that a recording met."""
        self._errors.note(task_id, error)

    def tracebacks(self) -> list[str]:
        """Of all unexpected exceptions, each once."""
        return self._errors.tracebacks()

    def note_code_error(self, error: CodeError) -> None:
        """Keep what ends the job; of an exception that leaves a worker Ray passes on the text alone."""
        self._code_error = self._code_error or error

    def code_error(self, num_tasks: int | None = None) -> CodeError | None:
        """What ends the job, if anything does; at the end of a run also what all of its tasks met."""
        return self._code_error or (None if num_tasks is None else self._errors.of_all(num_tasks))


def start_tracker() -> Any:
    """A tracker for one run, on the driver's node; if it is lost all the same, it starts again empty.

    Anywhere else it would end the run with whichever node it lies on.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    lasting = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(AttemptTracker).options(scheduling_strategy=here, **lasting).remote()


class Attempts:
    """A stage's view of the tracker; attempts of one stage don't count against another.

    ``max_seconds``: after which a worker is ended; times the number of recordings that are tried together.
    None: never.
    """

    def __init__(self, tracker: Any, stage: str, max_seconds: float | None = None) -> None:
        self._tracker = tracker
        self._stage = stage
        self._max_seconds = max_seconds

    def open_attempts(self, task_ids: list[str]) -> list[int]:
        """See ``AttemptTracker``."""
        counts: list[int] = ray.get(self._tracker.open_attempts.remote(self._stage, task_ids))
        return counts

    def was_overtime(self, task_id: str) -> bool:
        """See ``AttemptTracker``."""
        overtime: bool = ray.get(self._tracker.was_overtime.remote(self._stage, task_id))
        return overtime

    @contextlib.contextmanager
    def __call__(self, recordings: Mapping[str, str]) -> Iterator[None]:
        """``with attempts({task_id: audio}): ...`` around work that may kill the process, or never end."""
        ray.get(self._tracker.begin.remote(self._stage, recordings))
        try:
            with self._watchdog(list(recordings)):
                yield
        finally:
            ray.get(self._tracker.end.remote(self._stage, list(recordings)))

    @contextlib.contextmanager
    def _watchdog(self, task_ids: list[str]) -> Iterator[None]:
        if self._max_seconds is None:
            yield
            return
        seconds = self._max_seconds * len(task_ids)
        timer = threading.Timer(seconds, self._end_worker, [task_ids])
        timer.daemon = True
        timer.start()
        faulthandler.dump_traceback_later(seconds + NOTE_SECONDS, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            timer.cancel()

    def _end_worker(self, task_ids: list[str]) -> None:
        ray.get(self._tracker.note_overtime.remote(self._stage, task_ids))
        faulthandler.dump_traceback()  # where it hangs, for the worker's log
        os._exit(1)


def raise_if_poisoned(attempts: Attempts, task_id: str, audio: str, limits: RayOptions, doing: str) -> None:
    """Raise ``PoisonedRecording`` for a recording that has used up its attempts."""
    (num_open,) = attempts.open_attempts([task_id])
    if num_open < limits.max_attempts:
        return
    times = f"in {num_open} attempt{'s' if num_open > 1 else ''}"
    if attempts.was_overtime(task_id):
        raise PoisonedRecording(
            f"{doing} {audio} was not done after {limits.max_seconds_per_recording:g} s {times}: "
            "look at the file, or raise ray.max_seconds_per_recording"
        )
    raise PoisonedRecording(
        f"{doing} {audio} killed its worker {times}: look at the file, or give workers more memory"
    )


def guard_decode(
    task: pa.Table, *, decode: Callable[..., pa.Table], tracker: Any, limits: RayOptions
) -> pa.Table:
    """Decode the one recording of a one-row table, unless it has used up its attempts."""
    recordings = recordings_of(task)
    attempts = Attempts(tracker, "decode", limits.max_seconds_per_recording)
    try:
        for task_id, audio in recordings.items():
            raise_if_poisoned(attempts, task_id, audio, limits, "decoding")
    except PoisonedRecording as error:
        return failed_recording(task, error)
    with code_errors_kept(tracker), attempts(recordings):
        return decode(task, failures=failure_log(tracker), max_gigabytes=limits.max_decode_gb)


def guard_write(rows: pa.Table, *, write: Callable[[pa.Table], pa.Table], tracker: Any) -> pa.Table:
    """Write a block; answers are counted for Prometheus too, which the index's windows are not."""
    with code_errors_kept(tracker):
        report = write(rows)
        if "status" in rows.column_names:
            count_answers(rows)
    return report


class PoisonGuard:
    """An actor with the model, several recordings at once, of which one may kill it; see ``Stages``."""

    def __init__(
        self,
        *,
        make_stage: Callable[..., Callable[[pa.Table], pa.Table]],
        doing: str,
        model: ModelOptions,
        num_threads: int,
        tracker: Any,
        limits: RayOptions,
    ) -> None:
        self._stage = make_stage(model=model, num_threads=num_threads, failures=failure_log(tracker))
        self._together = Attempts(tracker, "model together", limits.max_seconds_per_recording)
        self._alone = Attempts(tracker, "model alone", limits.max_seconds_per_recording)
        self._doing = doing
        self._tracker = tracker
        self._limits = limits

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Rows of some recordings; failed ones of those that have used up their attempts."""
        recordings = recordings_of(decoded)
        with code_errors_kept(self._tracker):
            if len(decoded) == 1 or any(self._together.open_attempts(list(recordings))):
                # one of them killed a worker: apart, the guilty one shows itself and the others go on
                return pa.concat_tables(
                    [self._work_alone(decoded.slice(i, 1), *one) for i, one in enumerate(recordings.items())]
                )
            with self._together(recordings):
                return self._stage(decoded)

    def _work_alone(self, decoded: pa.Table, task_id: str, audio: str) -> pa.Table:
        try:
            raise_if_poisoned(self._alone, task_id, audio, self._limits, self._doing)
        except PoisonedRecording as error:
            return self._stage(failed_recording(decoded, error))
        with self._alone({task_id: audio}):
            return self._stage(decoded)


def recordings_of(tasks: pa.Table) -> dict[str, str]:
    """Address of the recording of each task, by its id."""
    return dict(column_values(tasks, ("task_id", "audio")))


@functools.lru_cache(maxsize=1)
def failure_log(tracker: Any) -> FailureLog:
    """The one of this process and run."""
    return FailureLog(lambda task_id, error: ray.get(tracker.note_unexpected.remote(task_id, error)))


@contextlib.contextmanager
def code_errors_kept(tracker: Any) -> Iterator[None]:
    """Keep a bug's traceback for the driver while it leaves this worker."""
    try:
        yield
    except Exception as error:
        found = None if isinstance(error, RayError) else code_error(error)
        if found is not None:
            ray.get(tracker.note_code_error.remote(found))
        raise
