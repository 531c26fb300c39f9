"""Make a benchmark of speech information retrieval: recordings, questions, and where the answers are said.

    python jobs/build_benchmark.py CONFIG.yaml [section.key=value ...]

Exit codes: 0 done, 1 done but some recordings could not be made, 2 config, texts, models or output can't be
used, 130 stopped by Ctrl-C. The same command continues a build that was stopped.
"""

from __future__ import annotations

import sys

from loguru import logger

from speechprune.builder.config import BuildConfig
from speechprune.config_loading import asks_for_help, config_from_arguments
from speechprune.pipeline.build_benchmark import build_benchmark
from speechprune.pipeline.cluster import StartError
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        config = config_from_arguments(BuildConfig, arguments)
        with divert_framework_output() as log:
            result = build_benchmark(config)
    except ValueError as error:
        logger.error("{}", error)
        return 2
    except StartError as error:
        logger.error("{} (all that Ray said: {})", error, log)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; what is made stays, the same command continues")
        return 130
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
