"""Write stage of the index job, on CPUs: windows to a file of the index."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import WindowsDirectory
from speechprune.pipeline.stages import MODEL_PROGRESS_SCHEMA, NUM_FAILURES_SHOWN

FAILURE = pa.struct([("recording", pa.string()), ("error_type", pa.string()), ("error", pa.string())])
REPORT_SCHEMA = MODEL_PROGRESS_SCHEMA.append(pa.field("failed_parts", pa.list_(FAILURE)))


def write_windows(rows: pa.Table, *, path: str) -> pa.Table:
    """Write the windows of a block, and return one row that reports it to the driver."""
    is_ok = pc.is_null(rows.column("error"))
    windows = rows.filter(is_ok).select(WINDOWS_SCHEMA.names)
    failed = rows.filter(pc.invert(is_ok)).select(FAILURE.names).to_pylist()
    parts = {tuple(row.values()) for row in windows.select(["recording", "shard"]).to_pylist()}
    if len(windows):
        WindowsDirectory(path).write(windows)
    seconds = pc.sum(pc.subtract(windows.column("end_seconds"), windows.column("start_seconds"))).as_py()
    report = {
        "num_ok": len(parts),
        "num_failed": len(failed),
        "num_recordings": len(parts) + len(failed),
        "audio_seconds": seconds or 0.0,
        "model_seconds": pc.sum(windows.column("seconds_encode")).as_py() or 0.0,
        "tflops": pc.sum(windows.column("tflops_encode")).as_py() or 0.0,
        "failures": [part["error"] for part in failed[:NUM_FAILURES_SHOWN]],
        "failed_parts": failed,
    }
    return pa.Table.from_pylist([report], REPORT_SCHEMA)
