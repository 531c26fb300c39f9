"""Make a benchmark of speech information retrieval: recordings, questions, and where the answers are said.

    python jobs/build_benchmark.py CONFIG.yaml [section.key=value ...]

Exit codes: 0 done, 1 done but some recordings could not be made, 2 config, texts, models or output can't be
used, 130 stopped by Ctrl-C. The same command continues a build that was stopped.
"""

from __future__ import annotations

import sys

from loguru import logger

from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.job import BuildResult, build_benchmark
from speechprune.cli import run_job


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    return run_job(
        arguments,
        BuildConfig,
        build_benchmark,
        show,
        description=__doc__,
        stays="what is made stays, the same command continues",
    )


def show(config: BuildConfig, result: BuildResult) -> int:
    """Print what was made, and how much could not be."""
    result.show()
    if result.failures:
        logger.error(
            "{:,} recordings could not be made, see README.md there: the same command tries them again",
            len(result.failures),
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
