"""Keep an index of an archive of recordings: encode what is new, drop what is gone, ask standing questions.

    python jobs/index_archive.py CONFIG.yaml [section.key=value ...]

Exit codes: 0 done (recordings that can't be read are listed and tried again the next time), 2 config,
archive, model or index can't be used, or another run holds the index, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys

from speechprune.cli import run_job
from speechprune.index.config import IndexConfig
from speechprune.index.job import run_index
from speechprune.index.summary import IndexSummary
from speechprune.reports.run_summary import show_index


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    return run_job(
        arguments,
        IndexConfig,
        run_index,
        show,
        description=__doc__,
        stays="what is indexed stays, the same command continues",
    )


def show(config: IndexConfig, summary: IndexSummary) -> int:
    """Print the table."""
    show_index(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
