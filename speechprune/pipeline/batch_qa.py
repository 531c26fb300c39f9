"""The main job: a manifest of (recording, question) items to answers, over a Ray cluster."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from loguru import logger

from speechprune import storage
from speechprune.config import BatchQAConfig
from speechprune.config_loading import ConfigError
from speechprune.manifest import read_manifest
from speechprune.models.loading import ModelOptions, check_model
from speechprune.models.vocabulary import unknown_share
from speechprune.pipeline.answer import AnswerStage
from speechprune.pipeline.attempts import AttemptLedger
from speechprune.pipeline.claim import claim
from speechprune.pipeline.cluster import StartError, root_cause, start_ray
from speechprune.pipeline.decode import decode_recording
from speechprune.pipeline.preview import estimate_hours
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_directory import RunDirectory
from speechprune.pipeline.tasks import make_tasks, split_blocks
from speechprune.pipeline.write import write_answers
from speechprune.reports.summary import Summary, summarise

# CPUs of a task or actor of a stage. They differ: Ray would fuse decoding into an answer actor of the same
# share, and the actor would wait for it
STAGE_CPUS = {"decode": 1.0, "answer": 0.5, "write": 0.25}
NUM_LOOKED_AT = 200  # questions whose words are looked up in the model's vocabulary
MUCH_UNKNOWN = 0.05


def run_batch_qa(config: BatchQAConfig) -> Summary:
    """Answer every item of the manifest that is not answered yet.

    Parameters
    ----------
    config
        The whole job.

    Returns
    -------
    Summary
        Of the run directory as it now stands, earlier launches included.

    Raises
    ------
    ValueError
        Config, manifest, model or output can't be used (ConfigError, ManifestError, ModelError,
        StorageError); raised before any worker starts.
    StartError
        The workers can't load the model.
    """
    shape = check_model(config.model)
    run = RunDirectory(config.output.path)
    manifest = read_manifest(config.input, storage.join(run.path, "audio"))
    claim(run, config)
    answered = run.settle()
    tasks = make_tasks(manifest, answered)
    item_ids = manifest.items.column("item_id").to_pylist()
    todo = [item_id for item_id in item_ids if item_id not in answered]
    _announce(config, manifest.items, manifest.num_repeated, num_done=len(item_ids) - len(todo))
    progress = Progress(num_items=len(todo))
    if todo:
        run.forget_failures(todo)
        start_ray()
        logger.info("to do: {}", _preview(tasks))
        try:
            _run_stages(config, tasks, run.path, progress)
        except ray.exceptions.RayError as error:
            raise StartError(root_cause(error)) from error
        run.settle()
    summary = summarise(run, set(item_ids), shape, progress.throughput())
    run.write_summary(summary.values)
    return summary


def _announce(config: BatchQAConfig, items: pa.Table, num_repeated: int, num_done: int) -> None:
    num_recordings = len(
        set(zip(*(items.column(n).to_pylist() for n in ("audio", "start", "end")), strict=True))
    )
    logger.info(
        "{}: {:,} recordings, {:,} questions, {:,} of them already answered",
        config.input.manifest,
        num_recordings,
        len(items),
        num_done,
    )
    if num_repeated:
        logger.info("{:,} rows of the manifest repeat an earlier one and count once", num_repeated)
    random = ", RANDOM WEIGHTS: the answers mean nothing" if config.model.random_weights else ""
    logger.info(
        "model {} ({}{}), pruning by {}",
        config.model.path,
        config.model.dtype,
        random,
        config.pruning.build(),
    )
    asked = items.select(["question", "choices"]).slice(0, NUM_LOOKED_AT).to_pylist()
    unknown = unknown_share(
        config.model.path, [text for row in asked for text in (row["question"], *(row["choices"] or []))]
    )
    if unknown > MUCH_UNKNOWN:
        logger.warning(
            "{:.0%} of the words asked are unknown to this model, whose vocabulary is closed: "
            "its answers mean nothing",
            unknown,
        )


def _preview(tasks: pa.Table) -> str:
    """How much audio lies ahead, read by a worker: a header that crashes the decoder crashes that alone."""
    estimate = ray.remote(num_cpus=0, max_retries=0)(estimate_hours)
    try:
        words: str = ray.get(estimate.remote(tasks.select(["audio", "start", "end"])))
    except ray.exceptions.RayError:
        return f"{len(tasks):,} recordings of unknown length"
    return words


def _run_stages(config: BatchQAConfig, tasks: pa.Table, run_path: str, progress: Progress) -> None:
    """Build the straight line and pull the answers through it."""
    options = config.ray
    pool = _actor_pool(config)
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
            "model": _for_workers(config.model),
            "method": config.pruning.build(),
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
        fn_kwargs={"run_path": run_path},
    )
    with progress:
        for report in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in report.to_pylist():
                progress.add(row)


def _for_workers(model: ModelOptions) -> ModelOptions:
    """With a local folder as an absolute path: workers run in other folders."""
    return replace(model, path=storage.absolute(model.path)) if Path(model.path).is_dir() else model


def _actor_pool(config: BatchQAConfig) -> dict[str, Any]:
    """Size of the pool and share of each actor, from the config and what the cluster has."""
    resources = ray.cluster_resources()
    num_gpus = resources.get("GPU", 0)
    gpus = config.ray.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if num_gpus and config.model.device != "cpu" else 0.0
    if gpus > num_gpus:
        raise ConfigError(f"ray.gpus_per_actor is {gpus:g}, but the cluster has {num_gpus:g} GPUs")
    most = config.ray.max_actors or max(config.ray.min_actors or 1, int(num_gpus // gpus) if gpus else 1)
    least = config.ray.min_actors or (1 if config.ray.max_actors else most)
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
