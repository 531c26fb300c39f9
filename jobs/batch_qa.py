"""Answer questions about an archive of recordings.

    python jobs/batch_qa.py [CONFIG.yaml] [section.key=value ...]

Without a config it runs the demo. Exit codes: 0 done, 1 done with too many failures,
2 config, manifest, model or output can't be used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from loguru import logger

from speechprune.config import BatchQAConfig
from speechprune.config_loading import asks_for_help, config_from_arguments
from speechprune.pipeline.batch_qa import StartError, run_batch_qa
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen

DEMO_CONFIG = Path(__file__).parent.parent / "configs" / "demo.yaml"


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        config = config_from_arguments(BatchQAConfig, arguments, DEMO_CONFIG)
        with divert_framework_output() as log:
            summary = run_batch_qa(config)
    except ValueError as error:
        logger.error("{}", error)
        return 2
    except StartError as error:
        logger.error("{} (all that Ray said: {})", error, log)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; what is answered stays, the same command continues")
        return 130
    summary.show()
    if config.model.random_weights:
        print("The model has random weights: these answers mean nothing.")
    if summary.failed_fraction > config.output.max_failed_fraction:
        logger.error(
            "{:.1%} of the items failed, more than output.max_failed_fraction={:g}",
            summary.failed_fraction,
            config.output.max_failed_fraction,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
