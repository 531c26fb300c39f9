"""Show the answers of a run: ``speechprune show``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["show"])

if __name__ == "__main__":
    run(main)
