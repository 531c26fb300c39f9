"""The last stage, on CPUs: rows to files, and a line of progress for the driver."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from speechprune.pipeline.metrics import count_answers
from speechprune.pipeline.run_store import RunStore

PROGRESS_SCHEMA = pa.schema(
    [
        pa.field("num_ok", pa.int64()),
        pa.field("num_failed", pa.int64()),
        pa.field("num_recordings", pa.int64()),
        pa.field("audio_seconds", pa.float64()),
        pa.field("failures", pa.list_(pa.string())),  # the first few, for the screen
    ]
)
MODEL_PROGRESS_SCHEMA = pa.schema(
    [
        *PROGRESS_SCHEMA,
        pa.field("model_seconds", pa.float64()),  # of the actor with the model
        pa.field("tflops", pa.float64()),
    ]
)
NUM_FAILURES_TOLD = 3  # a block
MODEL_STAGES = ("encode", "prune", "prefill", "generate")


def write_answers(rows: pa.Table, *, run_path: str, key_columns: Sequence[str]) -> pa.Table:
    """Publish a block of answers, count them, and report them in one row for the driver's progress."""
    run = RunStore(run_path, key_columns)
    recordings = {
        (row["audio"], row["start"], row["end"]): row["audio_seconds"] or 0.0
        for row in rows.select(["audio", "start", "end", "audio_seconds"]).to_pylist()
    }
    counts = {}
    failures: list[str] = []
    for status in ("ok", "failed"):
        part = rows.filter(pc.equal(rows.column("status"), status)).drop_columns("status")
        counts[status] = len(part)
        if len(part):
            run.write_answers(status, part)
        if status == "failed":
            told = part.slice(0, NUM_FAILURES_TOLD).select(["item_id", "error"]).to_pylist()
            failures = [f"{row['item_id']}: {row['error']}" for row in told]
    count_answers(rows)
    return pa.table(
        {
            "num_ok": [counts["ok"]],
            "num_failed": [counts["failed"]],
            "num_recordings": [len(recordings)],
            "audio_seconds": [sum(recordings.values())],
            "model_seconds": [sum(_total(rows, f"seconds_{stage}") for stage in MODEL_STAGES)],
            "tflops": [_total(rows, "tflops_total")],
            "failures": [failures],
        },
        schema=MODEL_PROGRESS_SCHEMA,
    )


def _total(rows: pa.Table, column: str) -> float:
    return pc.sum(rows.column(column)).as_py() or 0.0
