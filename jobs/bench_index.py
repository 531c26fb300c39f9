"""Measure what an index saves; --help says how."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import Tool

main = partial(
    run_command,
    Tool(
        description="Measure what an index saves.",
        main="speechprune.lab.speed.bench_index:main",
    ),
)

if __name__ == "__main__":
    run(main)
