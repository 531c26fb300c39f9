"""Failures as rows: kinds that the job itself knows, and the sentence of any."""

from __future__ import annotations


class MalformedRow(ValueError):
    """A row of the manifest that can't be asked."""


class WorkerKilled(RuntimeError):
    """A recording whose worker died, again and again."""


class TooMuchMemory(ValueError):
    """A recording that can't be decoded in the memory that it may take."""


class StartError(RuntimeError):
    """The workers can't start or go on; one line says why."""


class CodeError(RuntimeError):
    """A bug in this library, or in a method or model of the user's; no recording is to blame.

    Parameters
    ----------
    traceback
        As it was formatted in the worker: exceptions themselves lose it between processes.
    sentence
        What happened, in one line.
    """

    def __init__(self, traceback: str, sentence: str) -> None:
        super().__init__(traceback, sentence)
        self.traceback = traceback
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.traceback}\n{self.sentence}"


def failure_sentence(error: Exception) -> str:
    """An error in one line; unknown kinds carry their name."""
    text = " ".join(str(error).split())[:500]
    return (
        text if isinstance(error, ValueError | WorkerKilled) and text else f"{type(error).__name__}: {text}"
    )
