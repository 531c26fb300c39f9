"""Tasks: one recording with all its questions, encoded once; made from the items some at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from speechprune.data import column_values
from speechprune.data.columns import RECORDING_COLUMNS
from speechprune.data.index_files import Part
from speechprune.data.row_keys import KeySet, hash_values

if TYPE_CHECKING:
    from speechprune.data.manifest import Manifest

TASK_SCHEMA = pa.schema(
    [
        pa.field("task_id", pa.string()),
        pa.field("audio", pa.string()),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("track", pa.int64()),
        pa.field("part_of", pa.float64()),  # seconds of the recording that this is one of several parts of
        pa.field("error", pa.string()),  # of a malformed row; null otherwise
        # where an index holds the recording, in order; null where its audio is to be decoded
        pa.field("index_parts", pa.list_(pa.struct([("file", pa.string()), ("row_group", pa.int32())]))),
        pa.field("items", pa.large_binary()),  # an Arrow IPC stream: the items, with their carried columns
        # of a sweep: names of the points at which each item is not answered yet; else null
        pa.field("missing_points", pa.list_(pa.list_(pa.string()))),
    ]
)
TASKS_AT_A_TIME = 512  # made together


@dataclass(frozen=True)
class Tasks:
    """Tasks of a launch, by number; none of them is kept."""

    make: Callable[[np.ndarray], pa.Table]  # those of some numbers, with ``TASK_SCHEMA``
    are_malformed: np.ndarray  # whether the row of each is

    @classmethod
    def of(cls, table: pa.Table) -> Tasks:
        """Tasks that are made already."""
        is_malformed = table.column("error").is_valid().to_numpy()
        return cls(lambda numbers: table.take(pa.array(numbers)), is_malformed)

    def __len__(self) -> int:
        return len(self.are_malformed)

    def table(self) -> pa.Table:
        """All tasks at once."""
        return self.make(np.arange(len(self)))

    def blocks(self, recordings_per_block: int) -> Iterator[pa.Table]:
        """Blocks of consecutive tasks, see ``split_blocks``."""
        step = max(1, TASKS_AT_A_TIME // recordings_per_block) * recordings_per_block
        for start in range(0, len(self), step):
            numbers = np.arange(start, min(len(self), start + step))
            yield from split_blocks(self.make(numbers), recordings_per_block)


def make_tasks(
    manifest: Manifest,
    answered: KeySet,
    stored: Mapping[str, Sequence[Part]] | None = None,
    *,
    missing_points: Sequence[Sequence[str]] | None = None,
) -> Tasks:
    """Group the items still to be answered by recording (and slice of it), in the manifest's order.

    - ``answered``: ``item_id`` of the items that are answered.
    - ``stored``: where an index holds recordings, by address; slices of them are decoded all the same, as the
      windows of a slice begin at its start.
    - ``missing_points``: of a sweep: names of the points at which each item of the manifest is not answered
      yet.
    """
    malformed = manifest.malformed
    rows = np.flatnonzero(~answered.holds(manifest.ids))
    groups, is_malformed = manifest.recordings[rows], np.zeros(len(rows), bool)
    if malformed:
        is_malformed = KeySet.of((item_id,) for item_id in malformed).holds(manifest.ids[rows])
        ids = manifest.rows.take(rows[is_malformed]).column("item_id").to_pylist()
        errors = [malformed[item_id] for item_id in ids]
        groups[is_malformed] = hash_values(zip(groups[is_malformed], errors, strict=True))
    # items of a group behind its first one, by the number of that
    firsts = KeySet(groups).rows(groups)
    order = np.argsort(firsts, kind="stable")
    rows, is_first = rows[order], np.diff(firsts[order], prepend=-1) > 0
    begins = np.append(np.flatnonzero(is_first), len(rows))

    def make(numbers: np.ndarray) -> pa.Table:
        own = [rows[begins[number] : begins[number + 1]] for number in numbers.tolist()]
        places = np.cumsum([0, *map(len, own)])
        items = manifest.rows.take(np.concatenate([*own, np.empty(0, np.int64)]))
        heads = column_values(items.take(pa.array(places[:-1])), ("item_id", *RECORDING_COLUMNS))
        keys = [(*recording, malformed.get(item_id)) for item_id, *recording in heads]
        tasks = [dict(zip((*RECORDING_COLUMNS, "error"), key, strict=True)) for key in keys]
        columns = {
            **{name: [task.get(name) for task in tasks] for name in TASK_SCHEMA.names},
            "task_id": [hashlib.sha256(repr(key).encode()).hexdigest()[:16] for key in keys],
            "index_parts": [_index_parts(task, stored or {}) for task in tasks],
            "items": [
                pack_items(items.slice(place, len(some)))
                for place, some in zip(places.tolist(), own, strict=False)
            ],
        }
        if missing_points is not None:
            columns["missing_points"] = [[missing_points[row] for row in some.tolist()] for some in own]
        return pa.table(columns, schema=TASK_SCHEMA)

    return Tasks(make, is_malformed[order][is_first])


def _index_parts(task: dict[str, Any], stored: Mapping[str, Sequence[Part]]) -> list[dict[str, Any]] | None:
    """Places in the index of a whole recording's default track; None where it is to be decoded."""
    audio, start, end, track = (task[name] for name in RECORDING_COLUMNS)
    if task["error"] or audio not in stored or start or end is not None or track is not None:
        return None
    return [part._asdict() for part in stored[audio]]


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
