"""Answer questions about an archive of recordings.

    python jobs/batch_qa.py [CONFIG.yaml] [section.key=value ...]

Without a config it runs the demo. Exit codes: 0 done, 1 done with too many failures,
2 config, manifest, model or output can't be used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from speechprune.cli import run_job, too_many_failed
from speechprune.pipeline.batch_qa import run_batch_qa
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.summary import Summary
from speechprune.reports.run_summary import show_run

DEMO_CONFIG = Path(__file__).parent.parent / "configs" / "demo.yaml"


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    return run_job(
        arguments,
        BatchQAConfig,
        run_batch_qa,
        show,
        description=__doc__,
        default=DEMO_CONFIG,
        stays="what is answered stays, the same command continues",
    )


def show(config: BatchQAConfig, summary: Summary) -> int:
    """Print the table, and what the reader should know of it."""
    show_run(summary)
    if config.model.random_weights:
        print("The model has random weights: these answers mean nothing.")
    return too_many_failed(summary.failed_fraction, config.output.max_failed_fraction, "items")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
