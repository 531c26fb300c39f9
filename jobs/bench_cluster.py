"""Run the faults and loads of a cluster on this machine; --help says how."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import Tool

main = partial(
    run_command,
    Tool(
        description="Run the faults and loads of a cluster on this machine.",
        main="speechprune.lab.faults.command:main",
    ),
)

if __name__ == "__main__":
    run(main)
