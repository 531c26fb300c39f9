"""Search a whole archive for the answer to a question: ``speechprune search``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["search"])

if __name__ == "__main__":
    run(main)
