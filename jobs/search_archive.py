"""Ask a whole archive: which recordings answer a question, where, and what the model makes of the best.

    python jobs/search_archive.py "QUESTION" ["CHOICE" "CHOICE" ...] [CONFIG.yaml] [section.key=value ...]
    python jobs/search_archive.py [CONFIG.yaml] search.questions=questions.jsonl [section.key=value ...]

Without a config it asks the demo's index, see configs/search.yaml. Exit codes: 0 done, 2 config, index,
questions or model can't be used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from loguru import logger

from speechprune.config_loading import asks_for_help, config_from_arguments
from speechprune.pipeline.cluster import StartError
from speechprune.pipeline.search_archive import run_search
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen
from speechprune.search.config import SearchConfig

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "search.yaml"
SETTING = re.compile(r"[a-z_]+\.[a-z_0-9]+=|.*\.ya?ml$", re.DOTALL)  # what is no word of the question


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    settings = [argument for argument in arguments if SETTING.match(argument)]
    words = [argument for argument in arguments if not SETTING.match(argument)]
    try:
        config = config_from_arguments(SearchConfig, settings, DEFAULT_CONFIG)
        asked = (words[0], words[1:] or None) if words else None
        with divert_framework_output() as log:
            result = run_search(config, asked)
    except ValueError as error:
        logger.error("{}", error)
        return 2
    except StartError as error:
        logger.error("{} (all that Ray said: {})", error, log)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; what is answered stays")
        return 130
    result.show()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
