"""Turn a published benchmark into a manifest for the other jobs.

speechprune manifest spiral data.jsonl --audio-root FOLDER --output spiral.jsonl
speechprune manifest dream_tts --output FOLDER
speechprune manifest cn_college_listen --output FOLDER
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

from speechprune.benchmarks.audiobench import HUB_SOURCES, read_audiobench
from speechprune.benchmarks.rows import Benchmark, Row
from speechprune.benchmarks.spiral import read_spiral


def main(arguments: Sequence[str]) -> int:
    """Write the manifest and say what is in it; returns the exit code."""
    args = parse_arguments(arguments)
    try:
        manifest, benchmark = read_benchmark(args)
    except (OSError, ValueError) as error:
        logger.error("{} could not be read: {}", args.benchmark, error)
        return 2
    for reason in benchmark.unreadable:
        logger.warning("skipped {}", reason)
    left_out = f"{len(benchmark.unreadable)} unreadable, {benchmark.num_too_short} too short"
    if not benchmark.rows:
        logger.error("{}: no item left ({}), nothing written", args.benchmark, left_out)
        return 2
    manifest.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in benchmark.rows]
    manifest.write_text("".join(lines), encoding="utf-8")
    print(f"{manifest}: {describe(benchmark.rows)}; left out: {left_out}")
    return 0


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """One subcommand per benchmark."""
    parser = argparse.ArgumentParser(
        prog="speechprune manifest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    spiral = benchmarks.add_parser("spiral", help="SPIRAL or SPIRAL-H")
    spiral.add_argument("texts", help="data.jsonl or data_h.jsonl")
    spiral.add_argument("--audio-root", required=True, help="folder or URL prefix that holds spiral/wavs")
    spiral.add_argument("--output", required=True, type=Path, help="the manifest to write (JSONL)")
    for name, hub_source in HUB_SOURCES.items():
        audiobench = benchmarks.add_parser(name, help=hub_source)
        audiobench.add_argument(
            "--output", required=True, type=Path, help="folder for manifest.jsonl and audio/"
        )
        audiobench.add_argument(
            "--source", default=hub_source, help="dataset on the hub, or local Parquet folder"
        )
        audiobench.add_argument("--min-seconds", type=float, default=60, help="keep only longer recordings")
    return parser.parse_args(arguments)


def read_benchmark(args: argparse.Namespace) -> tuple[Path, Benchmark]:
    """Return the path of the manifest and what belongs in it."""
    if args.benchmark != "spiral":
        benchmark = read_audiobench(args.benchmark, args.output, args.source, args.min_seconds)
        return args.output / "manifest.jsonl", benchmark
    audio_root = args.audio_root
    if "://" not in audio_root and not os.path.isabs(audio_root):
        audio_root = os.path.relpath(
            audio_root, args.output.parent
        )  # a manifest's paths are relative to itself
    return args.output, read_spiral(args.texts, audio_root)


def describe(rows: list[Row]) -> str:
    """Count items and recordings, and the share of each gold letter: the score of always answering it."""
    letters = Counter(row["answer"] for row in rows)
    shares = ", ".join(f"{letter} {count / len(rows):.1%}" for letter, count in sorted(letters.items()))
    return f"{len(rows)} items about {len({row['audio'] for row in rows})} recordings; gold letters {shares}"
