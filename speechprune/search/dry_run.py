"""The plan of a search before it: passes over the index, and answers about the best recordings."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from speechprune.pipeline.dry_run import (
    EMBEDDED_AUDIO,
    Answering,
    DryRun,
    Refusals,
    estimate_answers,
    planned_shape,
    read_requests,
)
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.sampling import Sample, Stored, pick
from speechprune.search.config import SearchConfig
from speechprune.search.inputs import Inputs, check_words


def dry_run_search(config: SearchConfig, asked: tuple[str, list[str] | None] | None = None) -> DryRun:
    """Plan what ``run_search`` would do.

    Which recordings are the best is not known before it: all answers count as new, about recordings of the
    mean length. The scan of the index, which CPUs do, is in the bytes read and in no FLOPs. It is that of an
    exact search: one that uses a search index reads less.
    """
    refusals = Refusals(config.ray.executor)
    inputs = Inputs(config, asked, EMBEDDED_AUDIO)
    shape = planned_shape(refusals, config.model)
    if shape is not None:
        refusals.attempt(partial(check_words, config.search, shape))
    stored = refusals.attempt(lambda: inputs.stored)
    questions = refusals.attempt(lambda: inputs.questions)
    refusals.attempt(lambda: inputs.transcripts)
    settings = refusals.attempt(lambda: inputs.settings)
    store = refusals.attempt(lambda: RunStore(config.output.path))
    if store is not None:
        refusals.attempt(store.look)
        if settings is not None:
            refusals.attempt(lambda: store.compare(settings, None))
    if store is None or stored is None or questions is None:
        return DryRun(refusals.sentences, [])
    held = Stored.of(inputs.directory)
    how = Answering.of(config, shape, config.ray, store.path)
    num_answers = len(questions) * min(config.search.num_answered, len(stored))
    recordings = [held.sampled(uri, {how.points[0].name: 1}) for uri in pick(list(stored))]
    asking = estimate_answers(
        how,
        questions,
        Sample(recordings=recordings, num_all=num_answers),
        step=f"search {config.search.index} and ask the best recordings",
        num_todo=num_answers,
        num_done=0,
    )
    num_passes = math.ceil(len(questions) / config.search.questions_per_pass)
    everything = Sample(recordings=recordings, num_all=len(stored))
    return DryRun(
        refusals.sentences,
        [
            replace(
                asking,
                bytes_read=asking.bytes_read + num_passes * sum(inputs.directory.sizes().values()),
                num_requests=asking.num_requests + num_passes * read_requests(everything),
            )
        ],
    )
