"""The console command: ``speechprune COMMAND ...``; jobs/ holds the same commands as scripts for Ray.

Exit codes: 0 done, 1 done with too many failures or an error of the program, 2 the command can't be carried
out (one line says why), 130 stopped by Ctrl-C, 141 output closed by its reader.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence

from speechprune import __version__
from speechprune.cli_commands import COMMANDS, EXTRAS, Command, Job
from speechprune.entry import is_reader_gone, load, was_interrupted

PRINT_CONFIG = "--print-config"
DRY_RUN, SHOW_DRY_RUN = "--dry-run", "speechprune.reports.dry_run:show_dry_run"


def main(arguments: Sequence[str], commands: Mapping[str, Command] = COMMANDS) -> int:
    """Run ``speechprune COMMAND ...`` and return its exit code."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(overview(commands))
        return 0 if arguments else 2
    if name == "--version":
        print(f"speechprune {__version__}")
        return 0
    if name not in commands:
        close = difflib.get_close_matches(name, commands, n=1)
        hint = f"did you mean {close[0]}?" if close else f"give one of {', '.join(commands)}"
        print(f"speechprune: unknown command {name}: {hint}", file=sys.stderr)
        return 2
    return run_command(commands[name], rest)


def overview(commands: Mapping[str, Command]) -> str:
    """Return what ``speechprune --help`` prints: every command in one line."""
    lines = [f"  {name:10} {command.description.splitlines()[0]}" for name, command in commands.items()]
    return "\n".join(
        [
            "usage: speechprune COMMAND ...",
            "",
            *lines,
            "",
            "speechprune COMMAND --help lists a command's settings; speechprune --version",
        ]
    )


def run_command(command: Command, arguments: Sequence[str]) -> int:
    """Carry out a command with the arguments after its name; returns the exit code, see the module."""
    try:
        from loguru import logger

        from speechprune.pipeline.terminal import log_to_screen

        log_to_screen()
        if isinstance(command, Job):
            return run_job(command, arguments)
        exit_code: int = load(command.main)(arguments)
        return exit_code
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or was_interrupted()):
            return _exit_code_of(error)
        logger.warning("stopped; {}", command.on_interrupt)
        return 130


def run_job(job: Job, arguments: Sequence[str]) -> int:
    """Read a job's config, do its work, report how it went.

    Raises
    ------
    ValueError, OSError
        Config, input, model or output can't be used; one line says which.
    """
    from loguru import logger

    from speechprune.cli_help import job_help
    from speechprune.config import as_yaml, config_from_arguments
    from speechprune.pipeline.failures import CodeError, StartError
    from speechprune.pipeline.terminal import divert_framework_output

    config_class = load(job.config_class)
    if {"-h", "--help"} & set(arguments):
        print(job_help(job, config_class))
        return 0
    question, settings = job.split_question(arguments)
    flags = {PRINT_CONFIG} if job.dry_run is None else {PRINT_CONFIG, DRY_RUN}
    dry_run = job.dry_run if DRY_RUN in settings else None
    settings = [setting for setting in settings if setting not in flags]
    options = [*flags, "--help"]
    config = config_from_arguments(config_class, settings, job.default_config, job.example_config, options)
    if PRINT_CONFIG in arguments:
        print(as_yaml(config), end="")
        return 0
    try:
        with divert_framework_output() as log:
            work = load(dry_run or job.work)
            result = work(config, question) if job.takes_question else work(config)
    except StartError as error:
        logger.error("{} (Ray's own output: {})", error, log)
        return 2
    except CodeError as error:
        logger.bind(is_traceback=True).error("{}", error)
        return 1
    exit_code: int = load(SHOW_DRY_RUN)(result) if dry_run else load(job.report)(config, result)
    return exit_code


def _exit_code_of(error: BaseException) -> int:
    """Print the line of an error that is the user's to mend; raise any other again, for its traceback."""
    from loguru import logger

    if isinstance(error, ModuleNotFoundError):
        module = str(error.name).partition(".")[0]
        if module in EXTRAS:
            logger.error('{} is not installed: pip install "speechprune[{}]"', module, EXTRAS[module])
            return 2
    elif isinstance(error, ValueError | OSError) and not is_reader_gone(error):
        logger.error("{}", error)
        return 2
    raise error
