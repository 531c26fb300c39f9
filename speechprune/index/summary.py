"""Summary of an incremental run: changes in the archive, and the index's bytes, seconds and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from speechprune.data.index_columns import ACCOUNT_COLUMNS
from speechprune.data.index_files import WindowsDirectory
from speechprune.index.plan import Plan


def summarise_index(
    directory: WindowsDirectory,
    plan: Plan,
    num_copied: int,
    complete: Mapping[str, str],
    failed_parts: Sequence[dict[str, Any]],
    throughput: dict[str, float],
) -> dict[str, Any]:
    """Summarise an incremental run: what ``summary.json`` holds, plain numbers with units in the keys.

    - ``failed_parts``: failed parts of this run: ``recording``, ``error_type``, ``error``.
    - ``throughput``: throughput of this run: ``num_items`` (parts), ``audio_hours``, ``seconds``.
    """
    failures = {part["recording"]: part for part in reversed(failed_parts)}
    encoded = [recording.uri for recording in plan.encode if recording.uri not in failures]
    return {
        "num_recordings": len(plan.added) + len(plan.changed) + len(plan.unchanged),
        "num_indexed": len(complete),
        "num_new": len(plan.added),
        "num_changed": len(plan.changed),
        "num_unchanged": len(plan.unchanged),
        "num_dropped": len(plan.removed),
        "num_encoded": len(encoded),
        "num_copied": num_copied,
        "failures": [failures[uri] for uri in sorted(failures)],
        **_account(directory),
        "this_launch": throughput,
        "windows": f"{directory.path}/windows",
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _account(directory: WindowsDirectory) -> dict[str, float | None]:
    """Return bytes, seconds and TFLOPs per hour of audio, over the whole index."""
    table = directory.read_columns(ACCOUNT_COLUMNS)
    seconds = pc.sum(pc.subtract(table.column("end_seconds"), table.column("start_seconds"))).as_py() or 0.0
    files = table.group_by("recording").aggregate([("audio_bytes", "max")])
    totals = {
        "index_bytes": sum(directory.sizes().values()),
        "audio_bytes": pc.sum(files.column("audio_bytes_max")).as_py() or 0,
        **{
            name: pc.sum(table.column(name)).as_py() or 0.0
            for name in ("seconds_decode_audio", "seconds_encode", "tflops_encode")
        },
    }
    hours = seconds / 3600
    account: dict[str, float | None] = {"audio_hours": hours, **totals}
    return account | {
        f"{name}_per_audio_hour": total / hours if hours else None for name, total in totals.items()
    }
