"""The plan of a sweep before it: answers at every point of the grid, by each model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pyarrow as pa

from speechprune.benchmarks.builder.manifests import build_config, manifest_in
from speechprune.data.formats import counted
from speechprune.data.index_files import stored_parts
from speechprune.pipeline.dry_run import (
    EMBEDDED_AUDIO,
    Answering,
    DryRun,
    Estimate,
    Refusals,
    estimate_answers,
    planned_shape,
)
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.sampling import Stored, sample_tasks
from speechprune.sweep.config import SweepConfig
from speechprune.sweep.job import KEY_COLUMNS, missing_tasks, open_indexes, read_benchmarks, sweep_settings


def dry_run_sweep(config: SweepConfig) -> DryRun:
    """Plan what ``run_sweep`` would do.

    A benchmark that is to be built first is planned as a build; answers about it are not, as its questions
    are not written yet.
    """
    refusals = Refusals(config.ray.executor)
    refusals.attempt(config.encoding.detector)
    estimates, manifests = _builds(config, refusals)
    store = refusals.attempt(lambda: RunStore(config.output.path, KEY_COLUMNS))
    indexes = refusals.attempt(lambda: open_indexes(config)) or {}
    benchmarks = None
    if manifests:
        benchmarks = refusals.attempt(lambda: read_benchmarks(config, manifests, EMBEDDED_AUDIO))
    settings = refusals.attempt(lambda: sweep_settings(config, indexes))
    if store is None or benchmarks is None:
        return DryRun(refusals.sentences, estimates)
    refusals.attempt(store.look)
    items = pa.concat_tables([manifest.items for manifest in benchmarks.values()])
    if settings is not None:
        named, shared = settings
        refusals.attempt(lambda: store.compare(named | shared, items, may_be_new=named))
    for model in config.models:
        how = Answering(
            model=model,
            shape=planned_shape(refusals, model),
            points=config.points,
            options=config.answering,
            ray=config.ray,
            output=store.path,
        )
        stored = stored_parts(indexes[model.path].contents()) if indexes else {}
        held = Stored.of(indexes[model.path]) if indexes else Stored()
        tasks, num_todo = missing_tasks(config, model, benchmarks, stored, store)
        estimates.append(
            estimate_answers(
                how,
                items,
                sample_tasks(tasks, [], held),
                step=f"sweep of {counted(len(config.points), 'point')} by {model.path}",
                num_todo=num_todo,
                num_done=len(items) * len(config.points) - num_todo,
            )
        )
    return DryRun(refusals.sentences, estimates)


def _builds(config: SweepConfig, refusals: Refusals) -> tuple[list[Estimate], dict[str, str]]:
    """Plan the benchmarks that are to be built first; return the addresses of those that are there."""
    estimates: list[Estimate] = []
    manifests: dict[str, str] = {}
    for name, source in config.input.manifests.items():
        planned = refusals.attempt(partial(_plan_source, source))
        if planned is None:
            continue
        address, build = planned
        refusals.sentences += build.refusals
        to_build = [estimate for estimate in build.estimates if estimate.num_todo]
        note = "; answers about it can be planned when it is built"
        estimates += [replace(estimate, step=estimate.step + note) for estimate in to_build]
        if not to_build:
            manifests[name] = address
    return estimates, manifests


def _plan_source(source: str) -> tuple[str, DryRun]:
    build = build_config(source)
    if build is None:
        return source, DryRun([], [])
    from speechprune.benchmarks.builder.dry_run import dry_run_build  # needs the extra [build]

    return manifest_in(build.output.path), dry_run_build(build)
