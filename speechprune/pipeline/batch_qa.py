"""The main job: a manifest of (recording, question) items to answers, over a Ray cluster."""

from __future__ import annotations

import pyarrow as pa
import ray
from loguru import logger

from speechprune import storage
from speechprune.data.index_files import stored_parts
from speechprune.data.index_models import open_index
from speechprune.data.manifest import read_manifest
from speechprune.inference.point import Point
from speechprune.models.loading import check_model
from speechprune.pipeline.cluster import StartError, root_cause, start_ray
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.directories.asked_items import refuse_other_items
from speechprune.pipeline.directories.claim import claim_answers
from speechprune.pipeline.directories.run_directory import RunDirectory
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.question_line import preview, run_stages, warn_of_unknown_words
from speechprune.pipeline.summary import Summary, summarise
from speechprune.pipeline.tasks import make_tasks


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
    windows = None if config.input.index is None else open_index(config.input.index, config.model)
    claim_answers(run, config, None if windows is None else windows.states())
    stored = {} if windows is None else stored_parts(windows.contents())
    answered = {item_id for (item_id,) in run.settle()}
    if answered:
        refuse_other_items(run, manifest.items)
    tasks = make_tasks(manifest, answered, stored)
    item_ids = manifest.items.column("item_id").to_pylist()
    todo = [item_id for item_id in item_ids if item_id not in answered]
    _announce(config, manifest.items, manifest.num_repeated, num_done=len(item_ids) - len(todo))
    if windows is not None:
        recordings = set(tasks.column("audio").to_pylist())
        logger.info(
            "{:,} of {:,} recordings to ask are in the index", len(recordings & set(stored)), len(recordings)
        )
    progress = Progress(num_items=len(todo))
    if todo:
        run.forget_failures((item_id,) for item_id in todo)
        start_ray()
        logger.info("to do: {}", preview(tasks))
        point = Point(method=config.pruning.build(), query_text=config.answering.query_text)
        try:
            run_stages(config, config.model, [point], tasks, run, progress)
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
    warn_of_unknown_words(config.model, items)
