"""The plan of the main job: what ``run_batch_qa`` would do."""

from __future__ import annotations

from functools import partial

import numpy as np

from speechprune.pipeline.batch_qa import Inputs
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.dry_run import (
    EMBEDDED_AUDIO,
    Answering,
    DryRun,
    Refusals,
    estimate_answers,
    planned_shape,
)
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.sampling import Stored, sample_tasks
from speechprune.pipeline.tasks import make_tasks


def dry_run_batch_qa(config: BatchQAConfig) -> DryRun:
    """Plan what ``run_batch_qa`` would do."""
    refusals = Refusals(config.ray.executor)
    inputs = Inputs(config, EMBEDDED_AUDIO)
    shape = planned_shape(refusals, config.model)
    refusals.attempt(config.encoding.detector)
    manifest = refusals.attempt(lambda: inputs.manifest)
    stored = refusals.attempt(lambda: inputs.stored) or {}
    settings = refusals.attempt(lambda: inputs.settings)
    store = refusals.attempt(lambda: RunStore(config.output.path))
    if store is None or manifest is None:
        return DryRun(refusals.sentences, [])
    refusals.attempt(store.look)
    if settings is not None:
        refusals.attempt(partial(store.compare, settings, manifest.rows))
    todo = manifest.rows.subset(np.flatnonzero(~store.answered.holds(manifest.ids)))
    how = Answering.of(config, shape, config.ray, store.path)
    held = Stored() if inputs.windows is None or not stored else Stored.of(inputs.windows)
    sample = sample_tasks(make_tasks(manifest, store.answered, stored), [how.points[0].name], held)
    estimate = estimate_answers(
        how,
        todo,
        sample,
        step=f"answer {config.input.manifest}",
        num_todo=len(todo),
        num_done=len(manifest.rows) - len(todo),
    )
    return DryRun(refusals.sentences, [estimate])
