"""How much audio lies ahead, from a sample of the recordings' headers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from speechprune.audio import header_seconds

NUM_HEADERS = 32  # read before a run: enough to tell an hour from a day
NUM_READERS = 16


def estimate_hours(tasks: pa.Table) -> str:
    """``12 recordings, 3.4 hours of audio`` in words, estimated where not every header was read."""
    rows = tasks.select(["audio", "start", "end"]).to_pylist()
    sample = rows if len(rows) <= NUM_HEADERS else random.Random(0).sample(rows, NUM_HEADERS)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        lengths = [seconds for seconds in pool.map(_slice_seconds, sample) if seconds is not None]
    if not lengths:
        return f"{len(rows):,} recordings of unknown length"
    hours = sum(lengths) / len(lengths) * len(rows) / 3600
    about = "" if len(lengths) == len(rows) else "about "
    amount = f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
    return f"{len(rows):,} recordings, {about}{amount} of audio"


def header_lengths(uris: Sequence[str]) -> list[float | None]:
    """Seconds of each recording by its header; None where it can't be told."""

    def length(uri: str) -> float | None:
        try:
            return header_seconds(uri)
        except Exception:  # a store out of reach, say: decoding will tell
            return None

    with ThreadPoolExecutor(NUM_READERS) as pool:
        return list(pool.map(length, uris))


def _slice_seconds(row: dict[str, float | str | None]) -> float | None:
    try:
        whole = header_seconds(str(row["audio"]))
    except Exception:  # a store out of reach, say: the recording's own row will tell
        return None
    if whole is None:
        return None
    end = whole if row["end"] is None else min(whole, float(row["end"]))
    return max(0.0, end - float(row["start"] or 0.0))
