"""Measure the demo model on a held-out benchmark, and write the tables into its card.

    python jobs/measure_demo_model.py [CONFIG.yaml] [section.key=value ...]

Without a config: configs/demo_model_measured.yaml. Builds the benchmark if it isn't there; the same command
continues what was stopped. Exit codes: 0 done, 2 config, model or benchmark can't be used, 130 stopped by
Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from loguru import logger

from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.job import build_benchmark
from speechprune.cli import run_job
from speechprune.config import load_config
from speechprune.lab.training.card import measured_part, write_measured
from speechprune.lab.training.config import MeasureConfig

DEFAULT_CONFIG = Path(__file__).parent.parent / "configs" / "demo_model_measured.yaml"


def main(arguments: list[str]) -> int:
    """Build, measure, write, and say how it went by the exit code."""
    return run_job(
        arguments,
        MeasureConfig,
        measure_model,
        show,
        description=__doc__,
        default=DEFAULT_CONFIG,
        stays="the same command continues",
    )


def measure_model(config: MeasureConfig) -> list[dict[str, Any]]:
    """Ask the model, and write the tables into its card."""
    benchmark = load_config(BuildConfig, config.benchmark.config)
    card = Path(config.model.path) / "README.md"
    if not card.is_file():
        raise ValueError(f"{card} is missing: train the model with jobs/train_demo_model.py")
    write_measured(card.read_text(), "")  # or it is no card: better known before than after
    build_benchmark(benchmark)
    from speechprune.inference.speech_lm import SpeechLM
    from speechprune.lab.training.measure import measure
    from speechprune.models.loading import load_model  # after the builder: it takes seconds

    lm = SpeechLM(load_model(config.model))
    rows = measure(lm, Path(benchmark.output.path), Path(config.output.work_path))
    card.write_text(write_measured(card.read_text(), measured_part(rows)))
    return rows


def show(config: MeasureConfig, rows: list[dict[str, Any]]) -> int:
    """Print what was written."""
    print(measured_part(rows))
    logger.info("written into {}", Path(config.model.path) / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
