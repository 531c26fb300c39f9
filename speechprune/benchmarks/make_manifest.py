"""Make a manifest for the other jobs from a published benchmark.

speechprune manifest spiral data.jsonl --audio-root FOLDER --output spiral.jsonl
speechprune manifest dream_tts --output FOLDER
speechprune manifest cn_college_listen --output FOLDER
"""

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

from speechprune.benchmarks.readers import READERS, describe, make_benchmark_manifest
from speechprune.docstrings import parameter_docs


def main(arguments: Sequence[str]) -> int:
    """Write the manifest and print what is in it; returns the exit code."""
    settings = vars(parse_arguments(arguments))
    name, manifest = settings.pop("benchmark"), settings.pop("output")
    if manifest.suffix not in (".jsonl", ".json"):
        manifest /= "manifest.jsonl"
    try:
        benchmark = make_benchmark_manifest(name, manifest, **settings)
    except (OSError, ValueError) as error:
        logger.error("{}: {}", name, error)
        return 2
    print(f"{manifest}: {describe(benchmark)}")
    return 0


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """One subcommand per reader, with the reader's own settings."""
    parser = argparse.ArgumentParser(
        prog="speechprune manifest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subcommands = parser.add_subparsers(dest="benchmark", required=True)
    for name, reader in READERS.items():
        meanings = parameter_docs(reader)
        subcommand = subcommands.add_parser(name, help=(reader.__doc__ or "").splitlines()[0])
        subcommand.add_argument(
            "--output", required=True, type=Path, help="manifest.jsonl, or the folder that it is written to"
        )
        _, *settings = inspect.signature(reader, eval_str=True).parameters.values()
        for setting in settings:
            meaning = meanings[setting.name].replace("%", "%%")
            if setting.kind is setting.POSITIONAL_OR_KEYWORD:
                subcommand.add_argument(setting.name, type=setting.annotation, help=meaning)
                continue
            is_required = setting.default is setting.empty
            subcommand.add_argument(
                f"--{setting.name.replace('_', '-')}",
                type=setting.annotation,
                required=is_required,
                default=None if is_required else setting.default,
                help=meaning if is_required else f"{meaning} Default: {setting.default}",
            )
    return parser.parse_args(arguments)
