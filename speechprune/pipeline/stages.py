"""The stages that the jobs share: tasks through decoding, answering and writing, over a Ray cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import ray
from loguru import logger

from speechprune import storage
from speechprune.config import RayOptions
from speechprune.config_loading import ConfigError
from speechprune.models.loading import ModelOptions
from speechprune.models.vocabulary import unknown_share
from speechprune.pipeline.answer import AnswerStage
from speechprune.pipeline.attempts import AttemptLedger
from speechprune.pipeline.decode import decode_recording
from speechprune.pipeline.preview import estimate_hours
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_directory import RunDirectory
from speechprune.pipeline.tasks import split_blocks
from speechprune.pipeline.write import write_answers
from speechprune.questions import AnsweringOptions
from speechprune.sweep.grid import Point

# CPUs of a task or actor of a stage. They differ: Ray would fuse decoding into an answer actor of the same
# share, and the actor would wait for it
STAGE_CPUS = {"decode": 1.0, "answer": 0.5, "write": 0.25}
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
    run: RunDirectory,
    progress: Progress,
) -> None:
    """Build the straight line and pull the answers through it.

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
    options = config.ray
    pool = _actor_pool(options, model)
    ledger = ray.remote(AttemptLedger).options(num_cpus=0).remote()
    dataset = ray.data.from_arrow(list(split_blocks(tasks, options.recordings_per_block)))
    dataset = dataset.map_batches(
        decode_recording,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=pool["cpus"]["decode"],
        fn_kwargs={"ledger": ledger, "max_attempts": options.max_attempts},
    )
    dataset = dataset.map_batches(
        AnswerStage,
        batch_size=options.recordings_per_block,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=pool["min"], max_size=pool["max"]),
        num_cpus=pool["cpus"]["answer"],
        num_gpus=pool["gpus"],
        fn_constructor_kwargs={
            "model": _for_workers(model),
            "model_name": model.path,
            "points": points,
            "options": config.answering,
            "ledger": ledger,
            "max_attempts": options.max_attempts,
            "num_threads": pool["threads"],
        },
    )
    dataset = dataset.map_batches(
        write_answers,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=pool["cpus"]["write"],
        fn_kwargs={"run_path": run.path, "key_columns": run.key_columns},
    )
    with progress:
        for report in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in report.to_pylist():
                progress.add(row)


def _for_workers(model: ModelOptions) -> ModelOptions:
    """With a local folder as an absolute path: workers run in other folders."""
    return replace(model, path=storage.absolute(model.path)) if Path(model.path).is_dir() else model


def _actor_pool(options: RayOptions, model: ModelOptions) -> dict[str, Any]:
    """Size of the pool and share of each actor, from the config and what the cluster has."""
    resources = ray.cluster_resources()
    num_gpus = resources.get("GPU", 0)
    gpus = options.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if num_gpus and model.device != "cpu" else 0.0
    if gpus > num_gpus:
        raise ConfigError(f"ray.gpus_per_actor is {gpus:g}, but the cluster has {num_gpus:g} GPUs")
    most = options.max_actors or max(options.min_actors or 1, int(num_gpus // gpus) if gpus else 1)
    least = options.min_actors or (1 if options.max_actors else most)
    num_nodes = max(1, sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes()))
    cpus_per_node = resources.get("CPU", 0) / num_nodes
    actors_per_node = -(-most // num_nodes)
    return {
        "min": least,
        "max": most,
        "gpus": gpus or None,
        "threads": max(1, int(cpus_per_node) // actors_per_node),
        "cpus": stage_cpus(cpus_per_node, actors_per_node),
    }


def stage_cpus(cpus_per_node: float, actors_per_node: int) -> dict[str, float]:
    """CPUs that each stage asks for: scaled down where the others would find no room beside the actors.

    Ray would wait for decoding's room for ever, and for writing's until all is decoded.
    """
    needed = actors_per_node * STAGE_CPUS["answer"] + STAGE_CPUS["decode"] + STAGE_CPUS["write"]
    scale = min(1.0, cpus_per_node / needed) if cpus_per_node else 1.0  # none yet: it will scale up
    return {stage: math.floor(cpus * scale * 1000) / 1000 for stage, cpus in STAGE_CPUS.items()}
