"""A job from its arguments to its exit code: what all scripts that take a config have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from loguru import logger

from speechprune.config import asks_for_help, config_from_arguments
from speechprune.pipeline.failures import CodeError, StartError
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen

Config = TypeVar("Config")
Result = TypeVar("Result")


def run_job(
    arguments: Sequence[str],
    kind: type[Config],
    work: Callable[[Config], Result],
    end: Callable[[Config, Result], int],
    *,
    description: str | None,
    default: Path | None = None,
    stays: str,
) -> int:
    """Read the config, work, say how it went.

    Parameters
    ----------
    arguments
        Of the command line, see ``config_from_arguments``.
    kind, default
        Dataclass of the config, and its file where none is named.
    work
        What the job does; frameworks' chatter meanwhile goes to a file.
    end
        Prints what came out; its exit code is the job's.
    description
        Printed where help is asked for.
    stays
        What a job that is stopped by Ctrl-C leaves, in words.

    Returns
    -------
    int
        That of ``end``; 2 where the job can't be done, with a line that says why; 130 after Ctrl-C.
    """
    log_to_screen()
    if asks_for_help(arguments):
        print(description)
        return 0
    try:
        config = config_from_arguments(kind, arguments, default)
        with divert_framework_output() as log:
            result = work(config)
    except (ValueError, OSError) as error:
        logger.error("{}", error)
        return 2
    except StartError as error:
        logger.error("{} (all that Ray said: {})", error, log)
        return 2
    except CodeError as error:
        logger.error("{}", error)
        return 1
    except KeyboardInterrupt:
        logger.warning("stopped; {}", stays)
        return 130
    return end(config, result)


def too_many_failed(failed: float, most: float, items: str) -> int:
    """1, with a line, where a larger share failed than ``output.max_failed_fraction``; else 0."""
    if failed <= most:
        return 0
    logger.error("{:.1%} of the {} failed, more than output.max_failed_fraction={:g}", failed, items, most)
    return 1
