"""Keep an index of an archive of recordings: encode what is new, drop what is gone, ask standing questions.

    python jobs/index_archive.py CONFIG.yaml [section.key=value ...]

Exit codes: 0 done (recordings that can't be read are listed and tried again the next time), 2 config,
archive, model or index can't be used, or another run holds the index, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys

from loguru import logger

from speechprune.config_loading import asks_for_help, config_from_arguments
from speechprune.index.config import IndexConfig
from speechprune.pipeline.cluster import StartError
from speechprune.pipeline.index_archive import run_index
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        config = config_from_arguments(IndexConfig, arguments)
        with divert_framework_output() as log:
            summary = run_index(config)
    except ValueError as error:
        logger.error("{}", error)
        return 2
    except StartError as error:
        logger.error("{} (all that Ray said: {})", error, log)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; what is indexed stays, the same command continues")
        return 130
    summary.show()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
