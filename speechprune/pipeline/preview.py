"""What lies ahead of a run: audio by a sample of the headers, and words that the model doesn't know."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune.audio import header_seconds, recording_seconds
from speechprune.data.formats import counted
from speechprune.models.vocabulary import unknown_share

if TYPE_CHECKING:
    from speechprune.models.options import ModelOptions
    from speechprune.pipeline.executor import Executor
    from speechprune.pipeline.tasks import Tasks

NUM_QUESTIONS = 200  # whose words are looked up in the model's vocabulary
MUCH_UNKNOWN = 0.05
NUM_HEADERS = 32  # read before a run: enough to tell an hour from a day
NUM_READERS = 16
HEADERS_TIMEOUT_SECONDS = 60.0  # a drive that no longer answers must not hold the run
LENGTHS_PER_CALL = 32
LENGTHS_TIMEOUT_SECONDS = 3600.0  # all packets of this number of recordings may be read


def warn_of_unknown_words(model: ModelOptions, items: pa.Table) -> None:
    """Warn where a model with a closed vocabulary is asked in words that it doesn't know."""
    asked = items.select(["question", "choices"]).slice(0, NUM_QUESTIONS).to_pylist()
    unknown = unknown_share(
        model.path, [text for row in asked for text in (row["question"], *(row["choices"] or []))]
    )
    if unknown > MUCH_UNKNOWN:
        logger.warning(
            "{:.0%} of the words asked are unknown to this model, whose vocabulary is closed: "
            "its answers mean nothing",
            unknown,
        )


def preview(executor: Executor, tasks: Tasks) -> str:
    """How much audio lies ahead, in words; a header that crashes the decoder crashes its worker alone."""
    # a malformed row may name an address that must not be opened
    valid = np.flatnonzero(~tasks.are_malformed)
    numbers = random.Random(0).sample(range(len(valid)), min(NUM_HEADERS, len(valid)))
    spans = tasks.make(valid[numbers]).select(["audio", "start", "end"])
    estimate = executor.submit(estimate_hours, spans, len(valid), cpus=0, retry=False)
    words = executor.get_or_none(estimate, timeout_seconds=HEADERS_TIMEOUT_SECONDS)
    return words or f"{counted(len(tasks), 'recording')} of unknown length"


def recording_lengths(executor: Executor, uris: Sequence[str]) -> list[float | None]:
    """Seconds of each recording; one that crashes the decoder costs only its neighbours' lengths."""
    chunks = [uris[i : i + LENGTHS_PER_CALL] for i in range(0, len(uris), LENGTHS_PER_CALL)]
    reading = [executor.submit(measure_lengths, chunk, cpus=0.25, retry=False) for chunk in chunks]
    lengths: list[float | None] = []
    for chunk, handle in zip(chunks, reading, strict=True):
        found = executor.get_or_none(handle, timeout_seconds=LENGTHS_TIMEOUT_SECONDS)
        lengths += found or [None] * len(chunk)
    return lengths


def estimate_hours(spans: pa.Table, num_all: int) -> str:
    """``12 recordings, 3.4 hours of audio`` in words, from a sample of them."""
    with ThreadPoolExecutor(NUM_READERS) as pool:
        lengths = [seconds for seconds in pool.map(slice_seconds, spans.to_pylist()) if seconds is not None]
    if not lengths:
        return f"{counted(num_all, 'recording')} of unknown length"
    hours = sum(lengths) / len(lengths) * num_all / 3600
    about = "" if len(lengths) == num_all else "about "
    amount = f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
    return f"{counted(num_all, 'recording')}, {about}{amount} of audio"


def measure_lengths(uris: Sequence[str]) -> list[float | None]:
    """Seconds of each recording, see ``recording_seconds``."""
    with ThreadPoolExecutor(NUM_READERS) as pool:
        return list(pool.map(recording_seconds, uris))


def slice_seconds(row: dict[str, Any]) -> float | None:
    """Seconds of the part of a recording from ``start`` to ``end``; None where its header states none."""
    whole = header_seconds(str(row["audio"]))
    if whole is None:
        return None
    end = whole if row["end"] is None else min(whole, float(row["end"]))
    return max(0.0, end - float(row["start"] or 0.0))
