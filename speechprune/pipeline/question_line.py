"""Questions through the straight line: what the jobs that answer share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import ray
from loguru import logger

from speechprune.inference.point import Point
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.models.vocabulary import unknown_share
from speechprune.pipeline.config import RayOptions
from speechprune.pipeline.line import run_line
from speechprune.pipeline.preview import estimate_hours
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.stages.answer import AnswerStage
from speechprune.pipeline.stages.write import write_answers

NUM_LOOKED_AT = 200  # questions whose words are looked up in the model's vocabulary
MUCH_UNKNOWN = 0.05


class AnsweringConfig(Protocol):
    """What the stages need of a job's config."""

    @property
    def answering(self) -> AnsweringOptions:
        """How questions are put."""
        ...

    @property
    def ray(self) -> RayOptions:
        """How the work is spread."""
        ...


def warn_of_unknown_words(model: ModelOptions, items: pa.Table) -> None:
    """Say so where a model with a closed vocabulary is asked in words that it doesn't know."""
    asked = items.select(["question", "choices"]).slice(0, NUM_LOOKED_AT).to_pylist()
    unknown = unknown_share(
        model.path, [text for row in asked for text in (row["question"], *(row["choices"] or []))]
    )
    if unknown > MUCH_UNKNOWN:
        logger.warning(
            "{:.0%} of the words asked are unknown to this model, whose vocabulary is closed: "
            "its answers mean nothing",
            unknown,
        )


def preview(tasks: pa.Table) -> str:
    """How much audio lies ahead, read by a worker: a header that crashes the decoder crashes that alone."""
    estimate = ray.remote(num_cpus=0, max_retries=0)(estimate_hours)
    try:
        words: str = ray.get(estimate.remote(tasks.select(["audio", "start", "end"])))
    except ray.exceptions.RayError:
        return f"{len(tasks):,} recordings of unknown length"
    return words


def run_stages(
    config: AnsweringConfig,
    model: ModelOptions,
    points: Sequence[Point],
    tasks: pa.Table,
    run: RunStore,
    progress: Progress,
) -> None:
    """Answer what the tasks ask.

    Parameters
    ----------
    config
        Of the job.
    model
        Loaded once an actor.
    points
        How to prune: an answer an item at each, or at those that the item says it lacks.
    tasks
        ``TASK_SCHEMA``: recordings with their items.
    run
        Where the answers go.
    progress
        Told of every block written.

    Raises
    ------
    ConfigError
        The cluster lacks what ``config.ray`` asks for.
    ray.exceptions.RayError
        The workers can't start.
    """
    run_line(
        config.ray,
        model,
        tasks,
        progress,
        stage=AnswerStage,
        stage_settings={"model_name": model.path, "points": points, "options": config.answering},
        write=write_answers,
        write_settings={"run_path": run.path, "key_columns": run.key_columns},
    )
