"""The work of ``jobs/train_demo_model.py`` and ``jobs/measure_demo_model.py``, and what they print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from loguru import logger

from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.job import build_benchmark
from speechprune.config import load_config
from speechprune.lab.training.card import measured_part, write_measured
from speechprune.lab.training.config import MeasureConfig, TrainingConfig
from speechprune.pipeline.terminal import log_to_screen, screen


def train_demo_model(config: TrainingConfig) -> str:
    """Train the model; returns its folder."""
    from speechprune.lab.training.train import train

    os.dup2(screen().fileno(), 2)  # its second process logs to standard error, which a job leads to a file
    train(config, set_up_process=log_to_screen)
    return config.output.path


def report_training(config: TrainingConfig, folder: str) -> int:
    """Print where the model is."""
    print(f"model: {folder}")
    return 0


def measure_demo_model(config: MeasureConfig) -> list[dict[str, Any]]:
    """Build the benchmark, answer it on every arm, and write the tables into the model's card.

    Raises
    ------
    ValueError
        Config, model or benchmark can't be used.
    """
    benchmark = load_config(BuildConfig, config.benchmark.config)
    card = Path(config.model.path) / "README.md"
    if not card.is_file():
        raise ValueError(f"{card} is missing: train the model with jobs/train_demo_model.py")
    write_measured(card.read_text(), "")  # fails early where the file is no card
    build_benchmark(benchmark)
    from speechprune.inference.speech_lm import SpeechLM
    from speechprune.lab.training.measure import measure
    from speechprune.models.loading import load_model  # after the builder: it takes seconds

    lm = SpeechLM(load_model(config.model))
    rows = measure(lm, Path(benchmark.output.path), Path(config.output.work_path))
    card.write_text(write_measured(card.read_text(), measured_part(rows)))
    return rows


def report_measured(config: MeasureConfig, rows: list[dict[str, Any]]) -> int:
    """Print what was written."""
    print(measured_part(rows))
    logger.info("written into {}", Path(config.model.path) / "README.md")
    return 0
