"""What an answers file holds, noted in it when it is written: a launch need not parse the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from speechprune.data import column_values
from speechprune.data.disk_rows import DiskRows
from speechprune.data.row_keys import KIND, ROWS_AT_A_TIME, hash_rows, hash_values
from speechprune.pipeline.changed_items import ASKED_COLUMNS, file_name
from speechprune.pipeline.sums import READ_COLUMNS, TYPES, Sums

HASHES = ("keys", "items", "asked")


@dataclass(frozen=True, kw_only=True)
class FileNote:
    """Hashes of every row, and sums over all; and which files it replaces, see ``compaction``."""

    # keys, items, asked: hash of each row's key columns, of its item, and of what it was asked
    keys: np.ndarray
    items: np.ndarray
    asked: np.ndarray
    sums: Sums
    replaced: Sequence[str] = ()

    @classmethod
    def of(cls, rows: pa.Table, key_columns: Sequence[str]) -> FileNote:
        """The note on some rows of answers."""
        rows = rows.combine_chunks()
        keys = hash_rows(rows, key_columns)
        names = item_columns(key_columns)
        items = keys if names == list(key_columns) else hash_rows(rows, names)
        return cls(keys=keys, items=items, asked=hash_asked(rows), sums=Sums.of(rows))

    def as_bytes(self, key_columns: Sequence[str]) -> bytes:
        """The note as it stands in a file."""
        hashes = {name: getattr(self, name).tobytes().hex() for name in HASHES}
        return json.dumps({"layout": _layout(key_columns), **hashes, "sums": self.sums.as_json()}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, key_columns: Sequence[str]) -> FileNote | None:
        """The note of a file; None where another version wrote it."""
        note = json.loads(data)
        if note["layout"] != _layout(key_columns):
            return None
        keys, items, asked = (np.frombuffer(bytes.fromhex(note[name]), KIND) for name in HASHES)
        return cls(keys=keys, items=items, asked=asked, sums=Sums.from_json(note["sums"]))


@dataclass(frozen=True, kw_only=True)
class FileHashes:
    """Hashes of all rows of some answers files, one file after the other; see ``FileNote``."""

    files: list[str]
    num_rows: list[int]  # of each file
    keys: np.ndarray
    items: np.ndarray
    asked: np.ndarray
    sums: Sums  # over all

    @classmethod
    def of(cls, notes: Iterable[tuple[str, FileNote]], key_columns: Sequence[str]) -> FileHashes:
        """The hashes of files and their notes, in 16 bytes each, and their sums."""
        files, num_rows, sums = [], [], Sums()
        is_item = item_columns(key_columns) == list(key_columns)
        joined = {name: bytearray() for name in HASHES if not (is_item and name == "items")}
        for file, note in notes:
            files.append(file)
            num_rows.append(len(note.keys))
            sums.add(note.sums)
            for name, data in joined.items():
                data += getattr(note, name).tobytes()
        arrays = {name: np.frombuffer(data, KIND) for name, data in joined.items()}
        return cls(files=files, num_rows=num_rows, sums=sums, **({"items": arrays["keys"]} | arrays))


def _layout(key_columns: Sequence[str]) -> list[list[str]]:
    return [list(key_columns), list(ASKED_COLUMNS), list(READ_COLUMNS)]


def item_columns(key_columns: Sequence[str]) -> list[str]:
    """Those of the key columns that identify an item; a sweep answers it at several points."""
    return [name for name in key_columns if name in ("benchmark", "item_id")]


def hash_asked(rows: pa.Table | DiskRows) -> np.ndarray:
    """Hash what every row was asked; of a recording's address the file's name counts, as it may move."""
    place = ASKED_COLUMNS.index("audio")
    hashes = np.empty(len(rows), KIND)
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        part = rows.slice(start, ROWS_AT_A_TIME)
        for name in ASKED_COLUMNS:
            if name not in part.column_names:  # files may be older than a column
                part = part.append_column(name, pa.nulls(len(part), TYPES[name]))
        asked = column_values(part, ASKED_COLUMNS)
        hashes[start : start + len(part)] = hash_values(
            (*row[:place], file_name(row[place]), *row[place + 1 :]) for row in asked
        )
    return hashes
