"""Manifest items to task rows: one recording with all its questions, encoded once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from speechprune.data import column_values

if TYPE_CHECKING:
    from speechprune.data.index_files import Part
    from speechprune.data.manifest import Manifest

TASK_SCHEMA = pa.schema(
    [
        pa.field("task_id", pa.string()),
        pa.field("audio", pa.string()),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("error", pa.string()),  # of a malformed row; null otherwise
        # where an index holds the recording, in order; null where its audio is to be decoded
        pa.field("index_parts", pa.list_(pa.struct([("file", pa.string()), ("row_group", pa.int32())]))),
        pa.field("items", pa.large_binary()),  # an Arrow IPC stream: the items, with their carried columns
        # of a sweep: names of the points at which each item is not answered yet; else null
        pa.field("missing_points", pa.list_(pa.list_(pa.string()))),
    ]
)


def make_tasks(
    manifest: Manifest,
    answered: set[str],
    stored: Mapping[str, Sequence[Part]] | None = None,
    *,
    missing_points: Sequence[Sequence[str]] | None = None,
) -> pa.Table:
    """Group the items still to be answered by recording (and slice of it), in the manifest's order.

    - ``stored``: where an index holds recordings, by address; slices of them are decoded all the same, as the
      windows of a slice begin at its start.
    - ``missing_points``: of a sweep: names of the points at which each item of the manifest is not answered
      yet.
    """
    items = manifest.items
    groups: dict[tuple[str, float | None, float | None, str | None], list[int]] = defaultdict(list)
    identities = column_values(items, ("item_id", "audio", "start", "end"))
    for index, (item_id, audio, start, end) in enumerate(identities):
        if item_id not in answered:
            groups[audio, start, end, manifest.malformed.get(item_id)].append(index)
    rows = [
        {
            "task_id": hashlib.sha256(repr(key).encode()).hexdigest()[:16],
            **dict(zip(("audio", "start", "end", "error"), key, strict=True)),
            "index_parts": _index_parts(key, stored or {}),
            "items": pack_items(items.take(indices)),
            "missing_points": None if missing_points is None else [missing_points[i] for i in indices],
        }
        for key, indices in groups.items()
    ]
    return pa.Table.from_pylist(rows, schema=TASK_SCHEMA)


def _index_parts(
    key: tuple[str, float | None, float | None, str | None], stored: Mapping[str, Sequence[Part]]
) -> list[dict[str, Any]] | None:
    audio, start, end, error = key
    if error or audio not in stored or start or end is not None:
        return None
    return [vars(part) for part in stored[audio]]


def split_blocks(tasks: pa.Table, recordings_per_block: int) -> Iterator[pa.Table]:
    """Blocks: the unit of scheduling, retry and progress."""
    for start in range(0, len(tasks), recordings_per_block):
        num_tasks = min(recordings_per_block, len(tasks) - start)
        # take: a slice would drag the whole table along when it is serialised
        yield tasks.slice(start, num_tasks).take(pa.array(range(num_tasks)))


def pack_items(items: pa.Table) -> bytes:
    """Items of one recording as bytes that keep every column's type."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, items.schema) as writer:
        writer.write_table(items)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def unpack_items(packed: bytes) -> pa.Table:
    """The inverse of ``pack_items``."""
    return pa.ipc.open_stream(packed).read_all()
