"""Turn a published benchmark into a manifest: ``speechprune manifest``."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import COMMANDS

main = partial(run_command, COMMANDS["manifest"])

if __name__ == "__main__":
    run(main)
