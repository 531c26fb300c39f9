"""Keep an index of an archive of recordings: ``speechprune index``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["index"])

if __name__ == "__main__":
    run(main)
