"""Answer questions about an archive of recordings: ``speechprune answer``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["answer"])

if __name__ == "__main__":
    run(main)
