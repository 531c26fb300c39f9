"""The main job: a manifest of (recording, question) items to answers, over a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from loguru import logger

from speechprune import storage
from speechprune.data.disk_rows import DiskRows
from speechprune.data.formats import counted
from speechprune.data.index_files import Part, WindowsDirectory, stored_parts
from speechprune.data.index_models import open_index
from speechprune.data.manifest import Manifest, read_manifest
from speechprune.data.row_keys import ROWS_AT_A_TIME, KeySet
from speechprune.inference.point import Point
from speechprune.models.loading import check_model
from speechprune.pipeline.answer_stage import answer_stages
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.executor import make_executor
from speechprune.pipeline.preview import preview, warn_of_unknown_words
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings
from speechprune.pipeline.summary import Summary, summarise
from speechprune.pipeline.tasks import make_tasks


@dataclass(frozen=True)
class Inputs:
    """What a launch reads before it starts; each part raises what keeps the launch from starting."""

    config: BatchQAConfig
    audio_folder: str  # for recordings that are embedded in the manifest

    @cached_property
    def manifest(self) -> Manifest:
        """All items."""
        return read_manifest(self.config.input, self.audio_folder)

    @cached_property
    def windows(self) -> WindowsDirectory | None:
        """The index, if there is one."""
        index = self.config.input.index
        return None if index is None else open_index(index, self.config.model, self.config.encoding)

    @cached_property
    def stored(self) -> dict[str, list[Part]]:
        """Where the index holds recordings."""
        return {} if self.windows is None else stored_parts(self.windows.contents())

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that can change an answer."""
        return answer_settings(self.config, None if self.windows is None else self.windows.states())


def run_batch_qa(config: BatchQAConfig) -> Summary:
    """Answer every item of the manifest that is not answered yet.

    The summary is of the run directory as it now stands, earlier launches included.

    Raises
    ------
    ValueError
        Config, manifest, model or output can't be used (ConfigError, ManifestError, ModelError,
        StorageError); raised before any worker starts.
    StartError
        The workers can't load the model.
    """
    store = RunStore(config.output.path)
    inputs = Inputs(config, storage.join(store.path, "audio"))
    shape = check_model(config.model)
    point = Point(method=config.pruning.build(), query_text=config.answering.query_text)
    stages = answer_stages(config.model, [point], config.answering, store, config.encoding)
    manifest, stored = inputs.manifest, inputs.stored
    items = KeySet(manifest.ids)
    with store.launch(inputs.settings, config):
        with store.answering(manifest.rows, items) as todo:
            tasks = make_tasks(manifest, store.answered, stored)
            _announce(config, manifest, num_done=len(items) - len(todo))
            if inputs.windows is not None:
                _announce_index(manifest.rows.subset(np.flatnonzero(todo.holds(manifest.ids))), stored)
            progress = Progress(num_items=len(todo))
            if todo:
                executor = make_executor(config.ray, config.model)
                logger.info("to do: {}", preview(executor, tasks))
                executor.run(stages, tasks, progress)
        summary = summarise(store, items, shape, progress.throughput())
        store.finish(summary.values)
    return summary


def _announce(config: BatchQAConfig, manifest: Manifest, num_done: int) -> None:
    num_recordings = len(KeySet(manifest.recordings))
    logger.info(
        "{}: {}, {}, {:,} of them already answered",
        config.input.manifest,
        counted(num_recordings, "recording"),
        counted(len(manifest.rows), "question"),
        num_done,
    )
    if manifest.num_repeated:
        logger.info("rows of the manifest that repeat an earlier one, left out: {:,}", manifest.num_repeated)
    random = ", RANDOM WEIGHTS: the answers mean nothing" if config.model.random_weights else ""
    logger.info(
        "model {} ({}{}), pruning by {}",
        config.model.path,
        config.model.dtype,
        random,
        config.pruning.build(),
    )
    warn_of_unknown_words(config.model, manifest.items)


def _announce_index(items: DiskRows, stored: Mapping[str, Sequence[Part]]) -> None:
    starts = range(0, len(items), ROWS_AT_A_TIME)
    parts = (items.slice(start, ROWS_AT_A_TIME).column("audio").to_pylist() for start in starts)
    recordings = set().union(*parts)
    logger.info(
        "{:,} of {} to ask are in the index",
        len(recordings & set(stored)),
        counted(len(recordings), "recording"),
    )
