"""Measure accuracy against cost over many ways of pruning: ``speechprune sweep``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["sweep"])

if __name__ == "__main__":
    run(main)
