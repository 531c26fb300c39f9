"""Prometheus counters of a run, incremented by the stage that writes: it sees every answer and its cost.

Ray exports these as ``ray_speechprune_...``, of every node; the names are those of the answers' columns.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter

from speechprune.data.columns import COLUMNS

TAGS = ("model", "method")
# stages of the work: each has a column of its seconds
STAGES = tuple(c.name.removeprefix("seconds_") for c in COLUMNS if c.name.startswith("seconds_"))


@dataclass(frozen=True)
class Counters:
    """One set a process."""

    items: Counter
    audio_seconds: Counter
    kept_tokens: Counter
    stage_seconds: Counter
    tflops: Counter


@functools.cache
def counters() -> Counters:
    """The counters of this process, registered once."""
    return Counters(
        items=Counter("speechprune_items", "items written, by status ok or failed", (*TAGS, "status")),
        audio_seconds=Counter(
            "speechprune_audio_seconds", "seconds of audio of the recordings written", TAGS
        ),
        kept_tokens=Counter("speechprune_kept_tokens", "audio tokens in the prompts", TAGS),
        stage_seconds=Counter("speechprune_stage_seconds", "seconds of work, by stage", (*TAGS, "stage")),
        tflops=Counter("speechprune_tflops", "10^12 FLOPs of everything that was computed", TAGS),
    )


def count_answers(rows: pa.Table) -> None:
    """Count a block of answers, ``status`` among its columns.

    A recording that several blocks answer about counts in each: it was decoded for each.
    """
    of_process = counters()
    for key in rows.select([*TAGS, "status"]).group_by([*TAGS, "status"]).aggregate([]).to_pylist():
        own = rows
        for name, value in key.items():
            own = own.filter(pc.equal(own.column(name), value))
        tags = {name: str(key[name]) for name in TAGS}
        of_process.items.inc(len(own), {**tags, "status": key["status"]})
        recordings = own.group_by(["audio", "start", "end"]).aggregate([("audio_seconds", "max")])
        _add(of_process.audio_seconds, recordings.column("audio_seconds_max"), tags)
        _add(of_process.kept_tokens, own.column("num_kept_tokens"), tags)
        _add(of_process.tflops, own.column("tflops_total"), tags)
        for stage in STAGES:
            _add(of_process.stage_seconds, own.column(f"seconds_{stage}"), {**tags, "stage": stage})


def _add(counter: Counter, column: pa.ChunkedArray, tags: dict[str, str]) -> None:
    total = pc.sum(column).as_py()
    if total:
        counter.inc(total, tags)
