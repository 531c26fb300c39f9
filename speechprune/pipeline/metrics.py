"""Prometheus counters of a run, incremented by the stage that writes: it sees every answer and its cost.

Ray exports these as ``ray_speechprune_...``, of every node; the names are those of the answers' columns.
"""

from __future__ import annotations

import functools

import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter

from speechprune.data.columns import COLUMNS, RECORDING_COLUMNS

TAGS = ("model", "method")
# stages of the work: each has a column of its seconds
STAGES = tuple(c.name.removeprefix("seconds_") for c in COLUMNS if c.name.startswith("seconds_"))


# name behind speechprune_: description and tags
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "items": ("items written, by status ok or failed", (*TAGS, "status")),
    "audio_seconds": ("seconds of audio of the recordings written", TAGS),
    "kept_tokens": ("audio tokens in the prompts", TAGS),
    "stage_seconds": ("seconds of work, by stage", (*TAGS, "stage")),
    "tflops": ("10^12 FLOPs of everything that was computed", TAGS),
}


@functools.cache
def _counter(name: str) -> Counter:
    """A counter of this process, registered once."""
    return Counter(f"speechprune_{name}", *COUNTERS[name])


def count_answers(rows: pa.Table) -> None:
    """Count a block of answers, ``status`` among its columns.

    A recording that several blocks answer about counts in each: it was decoded for each.
    """
    for key in rows.select([*TAGS, "status"]).group_by([*TAGS, "status"]).aggregate([]).to_pylist():
        own = rows
        for name, value in key.items():
            own = own.filter(pc.equal(own.column(name), value))
        tags = {name: str(key[name]) for name in TAGS}
        _counter("items").inc(len(own), {**tags, "status": key["status"]})
        recordings = own.group_by(list(RECORDING_COLUMNS)).aggregate([("audio_seconds", "max")])
        _add("audio_seconds", recordings.column("audio_seconds_max"), tags)
        _add("kept_tokens", own.column("num_kept_tokens"), tags)
        _add("tflops", own.column("tflops_total"), tags)
        for stage in STAGES:
            _add("stage_seconds", own.column(f"seconds_{stage}"), {**tags, "stage": stage})


def _add(name: str, column: pa.ChunkedArray, tags: dict[str, str]) -> None:
    total = pc.sum(column).as_py()
    if total:
        _counter(name).inc(total, tags)
