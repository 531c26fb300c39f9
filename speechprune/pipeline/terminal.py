"""The user's screen: our lines on it, the frameworks' in a file."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

from loguru import logger


@functools.cache
def screen() -> TextIO:
    """The terminal or log that standard error led to when this was first asked for."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def log_to_screen() -> None:
    """Lines a person can read: the time, the level where it is not plain information, the message."""
    logger.remove()
    logger.add(
        screen(),
        level="INFO",
        format=lambda record: (
            "<dim>{time:HH:mm:ss}</dim> "
            + ("" if record["level"].name == "INFO" else "<level>{level.name}</level> ")
            + "{message}\n"
        ),
    )


@contextlib.contextmanager
def divert_framework_output() -> Iterator[str]:
    """Send what Ray's and the models' own code writes to standard error to a file; yields its path.

    It is done on the file descriptor, as Ray's C++ side writes there directly. The file stays
    only where Ray itself failed.
    """
    sys.stderr.flush()
    before = os.dup(2)
    file, path = tempfile.mkstemp(prefix="speechprune-", suffix=".log")
    os.dup2(file, 2)
    os.close(file)
    try:
        yield path
    except (ValueError, KeyboardInterrupt):  # the user's own doing: nothing to look up
        os.unlink(path)
        raise
    else:
        os.unlink(path)
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
