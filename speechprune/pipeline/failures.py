"""Failures as rows: kinds that the job itself knows, and the sentence of any."""

from __future__ import annotations


class MalformedRow(ValueError):
    """A row of the manifest that can't be asked."""


class WorkerKilled(RuntimeError):
    """A recording whose worker died, again and again."""


class TooMuchMemory(ValueError):
    """A recording that can't be decoded in the memory that it may take."""


def failure_sentence(error: Exception) -> str:
    """An error in one line; unknown kinds carry their name."""
    text = " ".join(str(error).split())[:500]
    return (
        text if isinstance(error, ValueError | WorkerKilled) and text else f"{type(error).__name__}: {text}"
    )
