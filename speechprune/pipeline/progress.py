"""Live progress on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from speechprune.pipeline.terminal import screen

SECONDS_BETWEEN_LINES = 10.0
NUM_FAILURES_SHOWN = 10


@dataclass(frozen=True)
class Activity:
    """What an executor is doing at a moment."""

    # num_decoding, num_with_model: recordings that are being decoded, or are with the model
    num_decoding: int = 0
    num_with_model: int = 0
    num_actors: int | None = None  # processes that hold the model; None where this one does
    # longest, longest_seconds: the recording that has been in one stage for the longest time, and since when
    longest: str | None = None
    longest_seconds: float = 0.0

    def describe(self, num_recordings: int, num_written: int) -> str:
        """In words: ``recordings: 3 waiting, 1 decoding, ...``."""
        num_waiting = max(0, num_recordings - num_written - self.num_decoding - self.num_with_model)
        text = (
            f"recordings: {num_waiting:,} waiting, {self.num_decoding:,} decoding, "
            f"{self.num_with_model:,} with the model, {num_written:,} written"
        )
        if self.num_actors is not None:
            text += f"; {self.num_actors:,} actor{'' if self.num_actors == 1 else 's'}"
        if self.longest is not None:
            text += f"; longest in work: {self.longest} for {_duration(self.longest_seconds)}"
        return text


class Progress:
    """Progress of one launch, from the reports of the write stage and the activity of the executor.

    - ``doing`` and ``items``: what is done, and to what, in words.
    - ``failures_in``: where all failures can be read.
    """

    def __init__(
        self,
        num_items: int,
        *,
        doing: str = "answering",
        items: str = "items",
        failures_in: str = "answers/status=failed",
    ) -> None:
        self._num_items = num_items
        self._doing = doing
        self._items = items
        self._failures_in = failures_in
        self._num_done = 0
        self._num_failed = 0
        self._num_failures_shown = 0
        self._num_recordings = 0
        self._num_written = 0
        self._audio_seconds = 0.0
        self._model_seconds = 0.0
        self._tflops = 0.0
        self._gpus: dict[str, float] = {}
        self._activity: Callable[[], Activity] | None = None
        self._activity_text = ""
        self._tracebacks: Callable[[], Sequence[str]] = tuple
        self._num_tracebacks = 0
        self._start: float | None = None
        self._end: float | None = None
        self._bar: RichProgress | None = None
        self._has_ended = threading.Event()
        self._timer = threading.Thread(target=self._show_regularly, name="progress", daemon=True)

    def running(
        self, num_recordings: int, activity: Callable[[], Activity], tracebacks: Callable[[], Sequence[str]]
    ) -> Progress:
        """Take what else an executor knows; a context manager while the run lasts.

        ``tracebacks``: of all unexpected exceptions so far; each is logged as soon as it is seen.
        """
        self._num_recordings, self._activity, self._tracebacks = num_recordings, activity, tracebacks
        return self

    def __enter__(self) -> Progress:
        self._start = time.monotonic()
        console = Console(file=screen())
        if console.is_terminal:
            self._bar = RichProgress(
                TextColumn(self._doing),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=self._num_items, rate="starting")
            self._bar.start()
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end = time.monotonic()
        self._has_ended.set()
        if error is None:
            self._timer.join()
            self._log_tracebacks()
        if self._bar is not None:
            self._bar.stop()

    def _show_regularly(self) -> None:
        """Show where the run is every ten seconds, whatever happens: a long recording writes nothing."""
        while not self._has_ended.wait(SECONDS_BETWEEN_LINES):
            self._log_tracebacks()
            if self._activity is not None:
                self._activity_text = "; " + self._activity().describe(
                    self._num_recordings, self._num_written
                )
            self._show(self._activity_text)

    def _log_tracebacks(self) -> None:
        tracebacks = self._tracebacks()
        for text in tracebacks[self._num_tracebacks :]:
            logger.bind(is_traceback=True).error("an unexpected exception:\n{}", text)
        self._num_tracebacks = max(self._num_tracebacks, len(tracebacks))

    def _show(self, activity: str = "") -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._num_done, rate=self._rate() + self._activity_text)
            return
        left = f", {_duration(self._seconds_left())} left" if self._num_done else ""
        counts = f"{self._num_done:,} of {self._num_items:,} {self._items}"
        logger.info("{}, {}{}{}", counts, self._rate(), left, activity)

    def add(self, report: dict[str, Any]) -> None:
        """Take one report of the write stage."""
        self._num_done += report["num_ok"] + report["num_failed"]
        self._num_failed += report["num_failed"]
        self._num_written += report["num_recordings"]
        self._audio_seconds += report["audio_seconds"]
        self._model_seconds += report.get("model_seconds", 0.0)
        self._tflops += report.get("tflops", 0.0)
        for failure in report["failures"]:
            if self._num_failures_shown < NUM_FAILURES_SHOWN:
                logger.warning("failed: {}", failure)
            elif self._num_failures_shown == NUM_FAILURES_SHOWN:
                logger.warning("more failures: see {}", self._failures_in)
            self._num_failures_shown += 1
        if self._bar is not None or self._num_done == self._num_items:
            self._show()

    def note_gpus(self, used: dict[str, float]) -> None:
        """Take the result of ``gpu_use`` for this launch."""
        self._gpus = used

    def _rate(self) -> str:
        elapsed = self._seconds()
        failed = f", {self._num_failed:,} failed" if self._num_failed else ""
        return (
            f"{self._num_done / elapsed:.2f} {self._items}/s, "
            f"{self._audio_seconds / elapsed:.0f} x real time{failed}, {_duration(elapsed)} elapsed"
        )

    def _seconds(self) -> float:
        return max(1e-9, time.monotonic() - (self._start or 0.0))

    def _seconds_left(self) -> float:
        return (self._num_items - self._num_done) * self._seconds() / max(1, self._num_done)

    def throughput(self) -> dict[str, float]:
        """Of this launch: items, hours of audio, seconds from first stage to last, work of the models."""
        seconds = 0.0 if self._start is None or self._end is None else self._end - self._start
        return {
            "num_items": self._num_done,
            "audio_hours": self._audio_seconds / 3600,
            "seconds": seconds,
            "model_seconds": self._model_seconds,
            "tflops": self._tflops,
            **self._gpus,
        }


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
