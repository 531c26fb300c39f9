"""Measure speed as ratios; --help says how."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import Tool

main = partial(
    run_command,
    Tool(
        description="Measure speed as ratios.",
        main="speechprune.lab.speed.bench:main",
    ),
)

if __name__ == "__main__":
    run(main)
