"""Accuracy against cost: many ways of pruning over the same recordings, each encoded once.

    python jobs/sweep.py [CONFIG.yaml] [section.key=value ...]

Without a config: the paper's Table I on the demo model. Writes points.parquet, report.md, report.html and
figures beside the answers. The same command continues a sweep that was stopped, and a wider grid computes
only what is new. Exit codes: 0 done, 1 done with too many failures, 2 config, manifests, models or output
can't be used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from speechprune.cli import run_job, too_many_failed
from speechprune.sweep.config import SweepConfig
from speechprune.sweep.job import SweepResult, run_sweep
from speechprune.sweep.terminal_table import show_sweep

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "paper_table1.yaml"


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    return run_job(
        arguments,
        SweepConfig,
        run_sweep,
        show,
        description=__doc__,
        default=DEFAULT_CONFIG,
        stays="what is answered stays, the same command continues",
    )


def show(config: SweepConfig, result: SweepResult) -> int:
    """Print the table, the recommendation, and where the report is."""
    show_sweep(result.points)
    if result.recommendation:
        print(result.recommendation)
    print(f"report: {result.report_path}")
    return too_many_failed(result.failed_fraction, config.output.max_failed_fraction, "answers")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
