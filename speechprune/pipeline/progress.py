"""Live progress on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from speechprune.pipeline.terminal import screen

SECONDS_BETWEEN_LINES = 10.0
NUM_FAILURES_TOLD = 10


class Progress:
    """What the driver knows of the run, from the reports of the write stage.

    Parameters
    ----------
    num_items
        Items to do in this launch.
    doing, items
        What is done, and to what, in words.
    failures_in
        Where all failures can be read.
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
        self._num_told = 0
        self._audio_seconds = 0.0
        self._model_seconds = 0.0
        self._tflops = 0.0
        self._gpus: dict[str, float] = {}
        self._begun: float | None = None
        self._ended: float | None = None
        self._last_line = 0.0
        self._bar: RichProgress | None = None

    def __enter__(self) -> Progress:
        self._begun = self._last_line = time.monotonic()
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = time.monotonic()
        if self._bar is not None:
            self._bar.stop()

    def add(self, report: dict[str, Any]) -> None:
        """Take one report of the write stage."""
        self._num_done += report["num_ok"] + report["num_failed"]
        self._num_failed += report["num_failed"]
        self._audio_seconds += report["audio_seconds"]
        self._model_seconds += report.get("model_seconds", 0.0)
        self._tflops += report.get("tflops", 0.0)
        for failure in report["failures"]:
            if self._num_told < NUM_FAILURES_TOLD:
                logger.warning("failed: {}", failure)
            elif self._num_told == NUM_FAILURES_TOLD:
                logger.warning("more failures: see {}", self._failures_in)
            self._num_told += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._num_done, rate=self._rate())
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES or self._num_done == self._num_items:
            self._last_line = time.monotonic()
            logger.info("{:,} of {:,} {}, {}", self._num_done, self._num_items, self._items, self._rate())

    def note_gpus(self, used: dict[str, float]) -> None:
        """What ``gpu_use`` says of this launch."""
        self._gpus = used

    def _rate(self) -> str:
        elapsed = max(1e-9, time.monotonic() - (self._begun or 0.0))
        rate = self._num_done / elapsed
        left = (self._num_items - self._num_done) / rate if rate else 0.0
        failed = f", {self._num_failed:,} failed" if self._num_failed else ""
        return (
            f"{rate:.2f} {self._items}/s, {self._audio_seconds / elapsed:.0f} x real time{failed}, "
            f"{_duration(elapsed)} gone, {_duration(left)} left"
        )

    def throughput(self) -> dict[str, float]:
        """Of this launch: items, hours of audio, seconds from first stage to last, work of the models."""
        seconds = 0.0 if self._begun is None or self._ended is None else self._ended - self._begun
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
