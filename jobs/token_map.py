"""Draw the audio tokens of one item that two methods keep, and its text: the paper's Fig. 2.

    python jobs/token_map.py [CONFIG.yaml] [section.key=value ...]

Without a config: configs/paper_fig2.yaml. Exit codes: 0 done, 2 config, manifest, model or item can't be
used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from loguru import logger

from speechprune.config_loading import asks_for_help, config_from_arguments
from speechprune.pipeline.terminal import divert_framework_output, log_to_screen
from speechprune.sweep.token_map import TokenMapConfig, make_token_map

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "paper_fig2.yaml"


def main(arguments: list[str]) -> int:
    """Draw, and say by the exit code how it went."""
    log_to_screen()
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        config = config_from_arguments(TokenMapConfig, arguments, DEFAULT_CONFIG)
        with divert_framework_output():
            lines = make_token_map(config)
    except (ValueError, OSError) as error:
        logger.error("{}", error)
        return 2
    except KeyboardInterrupt:
        logger.warning("stopped; nothing was written")
        return 130
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
