"""The user's screen: our lines on it, the frameworks' in a file."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from speechprune import storage

if TYPE_CHECKING:
    from loguru import Record

# what moves the cursor, ends a line or turns the direction of writing
_CONTROLS = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Return text for a screen or a log: an id or an address in it can't forge a line or move the cursor.

    Control characters are written as escapes; line ends too, unless ``keep_lines``. Secrets in addresses are
    left out (``storage.shortened``).
    """
    return _CONTROLS.sub(
        lambda found: (
            found[0] if keep_lines and found[0] == "\n" else found[0].encode("unicode_escape").decode()
        ),
        storage.shortened(text),
    )


@functools.cache
def screen() -> TextIO:
    """The terminal or log that standard error led to when this was first asked for."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def log_to_screen() -> None:
    """Lines a person can read: the time, the level where it is not plain information, the message."""
    logger.remove()
    logger.add(screen(), level="INFO", format=_line_format)


def _line_format(record: Record) -> str:
    """The format of one message, on one line unless it is bound as a traceback (``is_traceback``)."""
    extra = record["extra"]
    extra["printable"] = printable(record["message"], keep_lines=extra.get("is_traceback", False))
    level = "" if record["level"].name == "INFO" else "<level>{level.name}</level> "
    return "<dim>{time:HH:mm:ss}</dim> " + level + "{extra[printable]}\n"


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
