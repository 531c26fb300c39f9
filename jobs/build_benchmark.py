"""Build a benchmark of recordings and questions: ``speechprune benchmark``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["benchmark"])

if __name__ == "__main__":
    run(main)
