"""Train the small speech LLM that the project ships, from nothing.

    python jobs/train_demo_model.py [CONFIG.yaml] [section.key=value ...]

Without a config: configs/demo_model.yaml. The same command continues a training that was stopped. Exit codes:
0 done, 2 config or folders can't be used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from loguru import logger

from speechprune.config import asks_for_help, config_from_arguments
from speechprune.lab.training.config import TrainingConfig
from speechprune.pipeline.terminal import log_to_screen

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "demo_model.yaml"


def main(arguments: list[str]) -> int:
    """Train and say how it went by the exit code."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        config = config_from_arguments(TrainingConfig, arguments, DEFAULT_CONFIG)
        from speechprune.lab.training.train import train  # after the config: it takes seconds

        train(config, set_up_process=log_to_screen)
    except ValueError as error:
        logger.error("{}", error)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; the same command continues")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
