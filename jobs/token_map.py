"""Draw the audio tokens of one item that two methods keep, and its text: the paper's Fig. 2.

    python jobs/token_map.py [CONFIG.yaml] [section.key=value ...]

Without a config: configs/paper_fig2.yaml. Exit codes: 0 done, 2 config, manifest, model or item can't be
used, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from speechprune.cli import run_job
from speechprune.lab.figure2.config import Figure2Config
from speechprune.lab.figure2.picture import make_figure2

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "paper_fig2.yaml"


def main(arguments: list[str]) -> int:
    """Draw, and say by the exit code how it went."""
    return run_job(
        arguments,
        Figure2Config,
        make_figure2,
        show,
        description=__doc__,
        default=DEFAULT_CONFIG,
        stays="nothing was written",
    )


def show(config: Figure2Config, lines: list[str]) -> int:
    """Print what was measured."""
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
