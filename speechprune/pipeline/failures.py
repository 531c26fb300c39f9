"""Failures of a run: which are the data's and become rows, and which are the code's and end the job."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from speechprune import storage
from speechprune.audio import AudioError
from speechprune.pipeline.terminal import printable

MAX_IN_A_ROW = 3  # recordings of one worker that fail by the same unexpected exception


class MalformedRow(ValueError):
    """A row of the manifest that can't be asked."""


class PoisonedRecording(RuntimeError):
    """A recording whose worker died, again and again."""


class TooMuchMemory(ValueError):
    """A recording that can't be decoded in the memory that it may take."""


class StartError(RuntimeError):
    """The workers can't start or go on; one line says why."""


class CodeError(RuntimeError):
    """A bug in this library, or in a method or model of the user's; no recording is to blame.

    - ``traceback``: as it was formatted in the worker: exceptions themselves lose it between processes.
    - ``sentence``: what happened, in one line.
    """

    def __init__(self, traceback: str, sentence: str) -> None:
        super().__init__(traceback, sentence)
        self.traceback = traceback
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.traceback}\n{self.sentence}"


def failure_sentence(error: Exception) -> str:
    """An error in one line, without the secrets of addresses; unknown kinds carry their name."""
    text = printable(" ".join(str(error).split()))[:500]
    is_plain = isinstance(error, ValueError | PoisonedRecording) and text
    return text if is_plain else f"{type(error).__name__}: {text}"


def is_about_data(error: BaseException) -> bool:
    """Whether an exception is about one recording, its question or its storage; any other is a bug."""
    kinds = (AudioError, MalformedRow, PoisonedRecording, TooMuchMemory, MemoryError, pa.ArrowException)
    if isinstance(error, kinds) or storage.is_store_error(error):
        return True
    if "torch" not in sys.modules:  # workers that decode never load it
        return False
    from speechprune.inference.batching import is_out_of_memory
    from speechprune.inference.prompts import PromptError

    return isinstance(error, PromptError) or is_out_of_memory(error)


@dataclass(frozen=True)
class UnexpectedError:
    """An exception that is not about data, as text that can leave its worker."""

    place: str  # type, file and line: exceptions that agree in them are the same
    traceback: str  # as Python would print it

    @classmethod
    def of(cls, error: BaseException) -> UnexpectedError:
        """Describe an exception that was caught."""
        frames = traceback.extract_tb(error.__traceback__)
        line = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        text = storage.shortened("".join(traceback.format_exception(error)).rstrip())
        return cls(f"{type(error).__name__}{line}", text)


def code_error(error: Exception) -> CodeError | None:
    """What ends the job for an exception that left a stage; None where a line about the data is enough."""
    if isinstance(error, CodeError):
        return error
    if isinstance(error, ValueError | OSError) or is_about_data(error):
        return None
    found = UnexpectedError.of(error)
    return CodeError(found.traceback, f"the job ends: {found.place} is a bug, no fault of a recording")


class FailureLog:
    """Failures of one worker's recordings, which end the job once they are plainly code and not data.

    ``report``: called with ``task_id`` and ``UnexpectedError`` for every recording that met one.
    """

    def __init__(self, report: Callable[[str, UnexpectedError], None]) -> None:
        self._report = report
        self._in_a_row: dict[str, tuple[str, int]] = {}  # by kind of work: place of the error, recordings

    def note(self, work: str, task_id: str, outcomes: Sequence[object]) -> None:
        """Take what came of one recording's items: an exception, or anything else for a success.

        Parameters
        ----------
        work
            What was done; recordings are in a row within it.
        outcomes
            One for each of its items. Exceptions about data count neither way.

        Raises
        ------
        CodeError
            ``MAX_IN_A_ROW`` recordings failed by the same unexpected exception, and none succeeded between.
        """
        errors = [one for one in outcomes if isinstance(one, Exception)]
        unexpected = [UnexpectedError.of(error) for error in errors if not is_about_data(error)]
        for place in {one.place: one for one in unexpected}.values():
            self._report(task_id, place)
        if len(errors) < len(outcomes):
            self._in_a_row.pop(work, None)
        elif unexpected:
            error = unexpected[0]
            place_before, num_before = self._in_a_row.get(work, (error.place, 0))
            num = num_before + 1 if place_before == error.place else 1
            self._in_a_row[work] = (error.place, num)
            if num >= MAX_IN_A_ROW:
                raise CodeError(
                    error.traceback,
                    f"the job ends: {num} recordings in a row failed by the same {error.place}, "
                    "which is a bug and no fault of the recordings; what was answered before is kept",
                )


class UnexpectedErrors:
    """All unexpected exceptions of a run, each kept once."""

    def __init__(self) -> None:
        self._tracebacks: dict[str, str] = {}  # by place
        self._task_ids: dict[str, set[str]] = {}

    def note(self, task_id: str, error: UnexpectedError) -> None:
        """Take one that a recording met."""
        self._tracebacks.setdefault(error.place, error.traceback)
        self._task_ids.setdefault(error.place, set()).add(task_id)

    def tracebacks(self) -> list[str]:
        """One for each place, in the order in which they were first met."""
        return list(self._tracebacks.values())

    def of_all(self, num_tasks: int) -> CodeError | None:
        """What ends a run all of whose recordings met one exception, however few they are."""
        for place, task_ids in self._task_ids.items():
            if len(task_ids) >= num_tasks:
                return CodeError(
                    self._tracebacks[place],
                    f"the job ends: all {num_tasks:,} recordings met the same {place}, which is a bug and no "
                    "fault of the recordings",
                )
        return None
