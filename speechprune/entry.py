"""The first and last lines of every command: a process that Ctrl-C ends with exit code 130 at any moment.

One whose output nobody reads to its end, as in ``speechprune --help | head -1``, ends without a word and with
exit code 141, as if by SIGPIPE.

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
INTERRUPTED, READER_IS_GONE = 130, 141  # exit codes: 128 and the number of SIGINT, of SIGPIPE

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


def is_reader_gone(error: BaseException) -> bool:
    """Whether an error says that whoever read this process's output reads no more; other pipes break too."""
    if isinstance(error, SystemExit):  # what rich makes of it
        return isinstance(error.__context__, BrokenPipeError)
    if not isinstance(error, BrokenPipeError):
        return False
    from select import POLLERR, POLLHUP, poll

    output = poll()
    output.register(1, 0)
    return any(event & (POLLERR | POLLHUP) for _, event in output.poll(0))


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
        sys.stdout.flush()
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()  # here, where Ctrl-C is still expected, rather than in an exit hook
    except BaseException as error:
        if is_reader_gone(error):
            exit_code = READER_IS_GONE
        elif not _interrupted:
            raise
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _interrupted:
        exit_code = INTERRUPTED
    if exit_code in (INTERRUPTED, READER_IS_GONE):
        _end_without_hooks(exit_code)
    sys.exit(exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _end_without_hooks(exit_code: int) -> NoReturn:
    """Shut down Ray as far as that goes, flush, and leave."""
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
    os._exit(exit_code)
