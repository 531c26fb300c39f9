"""The stages of a run, and the executor that takes tasks through them in this process, without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from loguru import logger

from speechprune.models.options import ModelOptions
from speechprune.pipeline.failures import FailureLog, UnexpectedErrors
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.progress import Activity, Progress
from speechprune.pipeline.tasks import Tasks

Stage = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Stages:
    """What is done with tasks, whoever executes it; plain functions and one class, which know no Ray."""

    # ``decode(task, failures=..., max_gigabytes=...)``: a one-row table of ``TASK_SCHEMA`` to one of
    # ``DECODED_SCHEMA``
    decode: Callable[..., pa.Table]
    # ``model(model=..., num_threads=..., failures=...)`` loads the model and returns the stage that takes
    # blocks of decoded recordings to rows; of a recording with an error it makes failed rows. In a process of
    # its own it sets the number of CPU threads; None leaves them
    model: Callable[..., Stage]
    # writes a block of rows and returns a table of one row that reports it, with at least the columns
    # ``PROGRESS_SCHEMA``
    write: Stage
    doing: str  # what the stage with the model does, for sentences about recordings


class Executor(Protocol):
    """What the jobs need of an executor; its ``model`` is as workers can load it, wherever they run."""

    model: ModelOptions

    def run(self, stages: Stages, tasks: Tasks, progress: Progress) -> list[dict[str, Any]]:
        """Take tasks (``TASK_SCHEMA``) through the stages; returns all reports of ``stages.write``.

        Raises
        ------
        StartError
            The workers can't start, or can't go on.
        CodeError
            What fails is code and not data.
        """

    def put(self, value: Any) -> Any:
        """Keep a value where all calls can reach it; returns its handle."""

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        cpus: float = 1.0,
        with_model: bool = False,
        retry: bool = True,
    ) -> Any:
        """Call a function beside others; returns the handle of its result.

        Parameters
        ----------
        function, *arguments
            Handles among the arguments arrive as their values.
        cpus
            Share of a node that the call takes.
        with_model
            The function loads the model: it gets a GPU where the model's actors would.
        retry
            Call it again where its worker died.
        """

    def get(self, handle: Any) -> Any:
        """Wait for a result; raises ``StartError`` or ``CodeError`` where there is none."""

    def get_or_none(self, handle: Any, timeout_seconds: float) -> Any:
        """Wait for a result; None where the worker died or took too long."""


def make_executor(options: RayOptions, model: ModelOptions) -> Executor:
    """The executor that ``ray.executor`` names; joins or starts Ray where that is it.

    Raises
    ------
    StartError
        Ray can't be joined or started.
    """
    if options.executor == "local":
        return LocalExecutor(options, model)
    from speechprune.pipeline.ray_executor import RayExecutor

    return RayExecutor(options, model)


class LocalExecutor:
    """One recording after the other in this process: for a laptop, a debugger, and tests.

    A recording that kills the decoder kills the job here, and one that hangs holds it.
    """

    def __init__(self, options: RayOptions, model: ModelOptions) -> None:
        self._options = options
        self.model = model
        self._stage = "decode"
        self._recording: str | None = None
        self._since = time.monotonic()
        logger.info("in this process, without Ray (ray.executor=local)")

    def run(self, stages: Stages, tasks: Tasks, progress: Progress) -> list[dict[str, Any]]:
        """See ``Executor``."""
        errors = UnexpectedErrors()
        failures = FailureLog(errors.note)
        stage = stages.model(model=self.model, num_threads=None, failures=failures)
        reports = []
        with progress.running(len(tasks), self._activity, errors.tracebacks):
            for block in tasks.blocks(self._options.recordings_per_block):
                decoded = []
                for i in range(len(block)):
                    self._begin("decode", block.slice(i, 1))
                    decoded.append(
                        stages.decode(
                            block.slice(i, 1), failures=failures, max_gigabytes=self._options.max_decode_gb
                        )
                    )
                self._begin("model", block)
                rows = stage(pa.concat_tables(decoded))
                self._recording = None
                for report in stages.write(rows).to_pylist():
                    progress.add(report)
                    reports.append(report)
        if (error := errors.of_all(len(tasks))) is not None:
            raise error
        return reports

    def _begin(self, stage: str, tasks: pa.Table) -> None:
        self._stage, self._recording = stage, tasks.column("audio")[0].as_py()
        self._since = time.monotonic()
        self._num_in_work = len(tasks)

    def _activity(self) -> Activity:
        if self._recording is None:
            return Activity()
        counts = {"num_decoding" if self._stage == "decode" else "num_with_model": self._num_in_work}
        return Activity(**counts, longest=self._recording, longest_seconds=time.monotonic() - self._since)

    def put(self, value: Any) -> Any:
        """See ``Executor``."""
        return value

    def submit(self, function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        """See ``Executor``: the call is made here and now."""
        return function(*arguments)

    def get(self, handle: Any) -> Any:
        """See ``Executor``."""
        return handle

    def get_or_none(self, handle: Any, timeout_seconds: float) -> Any:
        """See ``Executor``."""
        return handle
