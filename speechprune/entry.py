"""The first and last lines of every command: a process that Ctrl-C ends with exit code 130 at any moment.

Everything else is imported inside ``run``, so that Ctrl-C during imports is handled as well.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

SHUTDOWN_SECONDS = 5.0  # that Ray may take to end after Ctrl-C

_interrupted = False


def load(reference: str) -> Any:
    """Return the object that ``module:name`` names."""
    from importlib import import_module

    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def call(reference: str, command: str, arguments: Sequence[str]) -> int:
    """Return the exit code of a command of the list that ``reference`` runs."""
    exit_code: int = load(reference)([command, *arguments])
    return exit_code


def was_interrupted() -> bool:
    """Whether Ctrl-C was pressed, be it that a library swallowed it or made another error of it."""
    return _interrupted


def run(main: Callable[[Sequence[str]], int] | None = None) -> NoReturn:
    """Run a command, by default the console command, as this process and leave with its exit code.

    After Ctrl-C nothing more is interrupted, and the exit hooks of Python and Ray, in which a half-started
    Ray can crash, are left out.
    """
    exit_code = 1
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
            signal.signal(signal.SIGINT, _interrupt)
        exit_code = (main or load("speechprune.cli:main"))(sys.argv[1:])
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()  # here, where Ctrl-C is still expected, rather than in an exit hook
    except BaseException:
        if not _interrupted:
            raise
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _interrupted:
        sys.exit(exit_code)
    _end_without_hooks()


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _end_without_hooks() -> NoReturn:
    """Shut down Ray as far as that goes, flush, and leave with 130."""
    from contextlib import suppress
    from threading import Thread

    def shut_down_ray() -> None:
        with suppress(BaseException):  # there may be no Ray, or one that was not fully imported or started
            sys.modules["ray"].shutdown()

    shutdown = Thread(target=shut_down_ray, daemon=True)
    shutdown.start()
    shutdown.join(SHUTDOWN_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(130)
