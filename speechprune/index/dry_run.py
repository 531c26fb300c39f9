"""The plan of an incremental run before it: what would be encoded, and which standing questions asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

import pyarrow as pa

from speechprune.cost import ModelShape
from speechprune.data.index_files import WindowsDirectory
from speechprune.data.index_models import index_dir
from speechprune.index.config import IndexConfig
from speechprune.index.index_bytes import index_bytes_per_second
from speechprune.index.job import index_settings
from speechprune.index.listing import Recording, list_archive
from speechprune.index.plan import Plan, make_plan
from speechprune.index.search_codes import check_search_codes
from speechprune.index.standing_questions import (
    StandingQuestion,
    answered_items,
    as_items,
    read_questions,
    todays_store,
)
from speechprune.pipeline.dry_run import (
    Answering,
    DryRun,
    Estimate,
    Refusals,
    block_bytes,
    encode_tflops,
    estimate_answers,
    planned_shape,
    prompt_bytes,
    read_requests,
    written_requests,
)
from speechprune.pipeline.lease import Lease
from speechprune.pipeline.sampling import Sample, Stored, pick, sample_files
from speechprune.pipeline.settings import answer_settings, compare_settings, output_path_errors


def dry_run_index(config: IndexConfig) -> DryRun:
    """Plan what ``run_index`` would do.

    A recording of which the index holds some parts counts as a whole one. Where the index is new, states are
    taken to compress as noise does.
    """
    refusals = Refusals(config.ray.executor)
    shape = planned_shape(refusals, config.model)
    refusals.attempt(config.encoding.detector)
    questions = refusals.attempt(lambda: read_questions(config.questions.path)) or []
    archive = refusals.attempt(lambda: list_archive(config.archive.path, config.archive.audio_roots))
    folder = refusals.attempt(lambda: index_dir(config.index.path, config.model, config.encoding))
    if shape is None or archive is None or folder is None:
        return DryRun(refusals.sentences, [])
    refusals.attempt(partial(check_search_codes, config.index, shape))
    directory = WindowsDirectory(folder)
    refusals.attempt(partial(_check_directory, config, directory))
    plan = make_plan(archive, directory.contents())
    sample = sample_files([recording.uri for recording in plan.encode])
    stored = Stored.of(directory)
    part_seconds = config.index.shard_seconds(shape.encoder.window_seconds)
    rate = stored.bytes_per_second or index_bytes_per_second(
        config.model, shape, config.index.states, min(part_seconds, sample.mean_seconds or part_seconds)
    )
    estimates = [_encoding(config, shape, plan, sample, rate)]
    if questions:
        seconds = sample.mean_seconds or fmean(stored.seconds.values() or [0.0])
        lengths = {recording.uri: seconds for recording in archive} | stored.seconds
        held = replace(stored, seconds=lengths, bytes_per_second=rate)
        estimates.append(_asking(config, refusals, shape, questions, archive, held))
    return DryRun(refusals.sentences, estimates)


def _check_directory(config: IndexConfig, directory: WindowsDirectory) -> None:
    with output_path_errors("index.path"):
        Lease(directory.path, config.index.lease_minutes).look()
        holds = "windows" if directory.files() else None
    compare_settings(directory.path, index_settings(config), holds=holds, place="index.path")


def _encoding(
    config: IndexConfig, shape: ModelShape, plan: Plan, sample: Sample, bytes_per_second: float
) -> Estimate:
    part_seconds = config.index.shard_seconds(shape.encoder.window_seconds)
    num_parts = sample.total(lambda one: max(1, math.ceil((one.seconds or 0.0) / part_seconds)))
    num_files = math.ceil(num_parts / config.ray.recordings_per_block) + len(plan.copies)
    copied_seconds = sample.mean_seconds * len(plan.copies)
    part_of_mean = min(1.0, part_seconds / sample.mean_seconds) if sample.mean_seconds else 1.0
    return Estimate(
        step=f"encode {config.archive.path}",
        item="recording",
        num_todo=len(plan.encode),
        num_done=len(plan.unchanged) + len(plan.copies),
        sample=sample,
        bytes_read=sum(recording.num_bytes for recording in plan.encode),
        bytes_written=bytes_per_second * (sample.audio_seconds + copied_seconds),
        num_requests=read_requests(sample) + written_requests(config.index.path, num_files),
        tflops={"encode": sample.total(partial(encode_tflops, shape))},
        actor_bytes=prompt_bytes(shape.decoder, 0),
        samples_bytes=part_of_mean * block_bytes(sample, config.ray.recordings_per_block),
    )


def _asking(
    config: IndexConfig,
    refusals: Refusals,
    shape: ModelShape,
    questions: Sequence[StandingQuestion],
    archive: Sequence[Recording],
    stored: Stored,
) -> Estimate:
    """The standing questions, as if every recording could be encoded."""
    output = str(config.questions.output)
    items = as_items(questions, {recording.uri: recording.version for recording in archive}).items
    answered = answered_items(output)
    ids = items.column("item_id").to_pylist()
    todo = items.filter(pa.array([item_id not in answered for item_id in ids], pa.bool_()))
    store = todays_store(output)
    refusals.attempt(store.look)
    if len(todo):
        settings = answer_settings(config, config.index.states)
        refusals.attempt(lambda: store.compare(settings, items))
    how = Answering.of(config, shape, config.ray, output)
    asked = Counter(todo.column("audio").to_pylist())
    return estimate_answers(
        how,
        todo,
        Sample(
            recordings=[stored.sampled(uri, {how.points[0].name: asked[uri]}) for uri in pick(list(asked))],
            num_all=len(asked),
        ),
        step=f"ask {config.questions.path}",
        num_todo=len(todo),
        num_done=len(ids) - len(todo),
    )
