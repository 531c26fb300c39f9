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

from loguru import logger

from speechprune.config_loading import asks_for_help, config_from_arguments
from speechprune.pipeline.cluster import StartError
from speechprune.pipeline.sweep import run_sweep
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen
from speechprune.reports.sweep_table import show_sweep
from speechprune.sweep.config import SweepConfig

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "paper_table1.yaml"


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        config = config_from_arguments(SweepConfig, arguments, DEFAULT_CONFIG)
        with divert_framework_output() as log:
            result = run_sweep(config)
    except ValueError as error:
        logger.error("{}", error)
        return 2
    except StartError as error:
        logger.error("{} (all that Ray said: {})", error, log)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; what is answered stays, the same command continues")
        return 130
    show_sweep(result.points)
    if result.recommendation:
        print(result.recommendation)
    print(f"report: {result.report_path}")
    if result.failed_fraction > config.output.max_failed_fraction:
        logger.error(
            "{:.1%} of the answers failed, more than output.max_failed_fraction={:g}",
            result.failed_fraction,
            config.output.max_failed_fraction,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
