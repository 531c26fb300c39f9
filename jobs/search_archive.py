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

from speechprune.cli import run_job
from speechprune.reports.run_summary import show_search
from speechprune.search.config import SearchConfig
from speechprune.search.job import run_search
from speechprune.search.summary import SearchResult

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "search.yaml"
SETTING = re.compile(
    r"-h$|--help$|[a-z_]+\.[a-z_0-9]+=|.*\.ya?ml$", re.DOTALL
)  # what is no part of the question


def main(arguments: list[str]) -> int:
    """Run the job and say how it went by the exit code."""
    settings = [argument for argument in arguments if SETTING.match(argument)]
    words = [argument for argument in arguments if not SETTING.match(argument)]
    asked = (words[0], words[1:] or None) if words else None
    return run_job(
        settings,
        SearchConfig,
        lambda config: run_search(config, asked),
        show,
        description=__doc__,
        default=DEFAULT_CONFIG,
        stays="what is answered stays",
    )


def show(config: SearchConfig, result: SearchResult) -> int:
    """Print the hits, or how often the recording was found."""
    show_search(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
