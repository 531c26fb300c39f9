"""The straight line that the jobs share: tasks through decoding, an actor with the model, and writing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from speechprune import storage
from speechprune.config import ConfigError
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import RayOptions
from speechprune.pipeline.gpus import gpu_use
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.retries import Limits, start_ledger
from speechprune.pipeline.stages.decode import decode_recording
from speechprune.pipeline.tasks import split_blocks

# CPUs of a task or actor of a stage. They differ: Ray would fuse decoding into a model's actor of the same
# share, and the actor would wait for it
STAGE_CPUS = {"decode": 1.0, "model": 0.5, "write": 0.25}


def run_line(
    options: RayOptions,
    model: ModelOptions,
    tasks: pa.Table,
    progress: Progress,
    *,
    stage: type,
    stage_settings: dict[str, Any],
    write: Callable[..., pa.Table],
    write_settings: dict[str, Any],
    are_parts: bool = False,
) -> list[dict[str, Any]]:
    """Build the line and pull the rows through it.

    Parameters
    ----------
    options
        How the work is spread.
    model
        Loaded once an actor.
    tasks
        ``TASK_SCHEMA``.
    progress
        Told of every block written.
    stage, stage_settings
        Class of the actors with the model, and what it is made with beside ``model``, ``ledger``,
        ``limits`` and ``num_threads``.
    write, write_settings
        Function that writes a block and reports it in one row, and what it is called with.
    are_parts
        Tasks are parts of recordings, see ``decode_audio``.

    Returns
    -------
    list of dict
        All reports.

    Raises
    ------
    ConfigError
        The cluster lacks what ``options`` asks for.
    ray.exceptions.RayError
        The workers can't start.
    """
    pool = actor_pool(options, model)
    ledger = start_ledger()
    limits = Limits(options.max_attempts, options.max_seconds_per_recording, options.max_decode_gb)
    guards = {"ledger": ledger, "limits": limits}
    # from_arrow would run a task a block, to learn its size
    dataset = ray.data.from_blocks(list(split_blocks(tasks, options.recordings_per_block)))
    dataset = dataset.map_batches(
        decode_recording,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=pool["cpus"]["decode"],
        fn_kwargs={**guards, "are_parts": are_parts},
    )
    dataset = dataset.map_batches(
        stage,
        batch_size=options.recordings_per_block,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=pool["min"], max_size=pool["max"]),
        num_cpus=pool["cpus"]["model"],
        num_gpus=pool["gpus"],
        fn_constructor_kwargs={
            "model": for_workers(model),
            "num_threads": pool["threads"],
            **guards,
            **stage_settings,
        },
    )
    dataset = dataset.map_batches(
        write,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=pool["cpus"]["write"],
        fn_kwargs=write_settings,
    )
    reports = []
    with progress:
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for report in block.to_pylist():
                progress.add(report)
                reports.append(report)
    progress.note_gpus(gpu_use(ray.nodes(), pool["gpus"], progress.throughput()))
    return reports


def for_workers(model: ModelOptions) -> ModelOptions:
    """With a local folder as an absolute path: workers run in other folders."""
    return replace(model, path=storage.absolute(model.path)) if Path(model.path).is_dir() else model


def actor_pool(options: RayOptions, model: ModelOptions) -> dict[str, Any]:
    """Size of the pool and share of each actor, from the config and what the cluster has."""
    resources = ray.cluster_resources()
    num_gpus = resources.get("GPU", 0)
    gpus = options.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if num_gpus and model.device != "cpu" else 0.0
    scales_from_zero = num_gpus == 0 and options.max_actors is not None
    if gpus > num_gpus and not scales_from_zero:
        raise ConfigError(
            f"ray.gpus_per_actor is {gpus:g}, but the cluster has {num_gpus:g} GPUs "
            "(set ray.max_actors where GPUs come when they are asked for)"
        )
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
    needed = actors_per_node * STAGE_CPUS["model"] + STAGE_CPUS["decode"] + STAGE_CPUS["write"]
    scale = min(1.0, cpus_per_node / needed) if cpus_per_node else 1.0  # none yet: it will scale up
    return {stage: math.floor(cpus * scale * 1000) / 1000 for stage, cpus in STAGE_CPUS.items()}
