"""Answers files of a run directory: written whole, verified when they are read, joined when they are many."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from speechprune import storage
from speechprune.data import column_values
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS
from speechprune.data.parquet_files import NUM_READERS, DamagedFileError, as_parquet, read_note, read_parquet
from speechprune.pipeline.compaction import (
    compact,
    footer_entry,
    in_reading_order,
    is_joined,
    name_of,
    read_rows,
    replaced_by,
)
from speechprune.pipeline.file_note import FileNote

FILES_AT_A_TIME = 256
ATTEMPTS = 10  # to read files while another launch joins them

Value = TypeVar("Value")


class AnswersFiles:
    """``answers/status=ok/*.parquet`` and ``answers/status=failed/*.parquet`` of a run directory.

    Parameters
    ----------
    path
        The run directory.
    key_columns
        Columns that identify a row.
    """

    def __init__(self, path: str, key_columns: Sequence[str]) -> None:
        self._path = path
        self._key_columns = list(key_columns)

    def notes(self, status: str, *, set_aside: bool = False) -> Iterator[tuple[str, FileNote]]:
        """Every whole answers file and what is in it; damaged files are left out, or set aside."""

        def note_of(parquet: pq.ParquetFile) -> FileNote:
            return replace(FileNote.of(parquet.read(), self._key_columns), replaced=replaced_by(parquet))

        def read(file: str) -> FileNote | None:
            data = storage.read_bytes(file)
            noted = read_note(data)  # of all bytes: a bit of any may have flipped
            if noted and (note := FileNote.from_bytes(noted, self._key_columns)):
                if not is_joined(file):
                    return note
                return replace(note, replaced=replaced_by(pq.ParquetFile(io.BytesIO(data))))
            try:
                return read_parquet(file, note_of)
            except DamagedFileError as error:
                if not set_aside:
                    logger.warning("left out: {}", error)
                return None

        files = iter(self.all(status))
        replaced: set[str] = set()
        with ThreadPoolExecutor(NUM_READERS) as pool:
            # some at a time: notes that wait take memory
            batches = iter(lambda: list(itertools.islice(files, FILES_AT_A_TIME)), [])
            notes = (pair for some in batches for pair in zip(some, pool.map(read, some), strict=True))
            for file, note in notes:
                if name_of(file) in replaced:
                    if set_aside:  # a launch was killed before it removed the file
                        storage.remove(file)
                elif note is not None:
                    replaced.update(note.replaced)
                    yield file, note
                elif set_aside:
                    storage.move_into(file, storage.join(self._path, "set_aside"))
                    logger.warning("set aside {}: it is not a whole Parquet file; its items run again", file)

    def read(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status; null in files that lack one. Damaged files are left out."""

        def read(file: str) -> tuple[pa.Table, list[str]]:
            try:
                return read_parquet(file, lambda parquet: (parquet.read(columns), replaced_by(parquet)))
            except DamagedFileError as error:
                logger.warning("left out: {}", error)
                return empty, []

        def read_all() -> list[pa.Table]:
            files = self.all(status)
            with ThreadPoolExecutor(NUM_READERS) as pool:
                found = list(pool.map(read, files))
            gone = {name for _, replaced in found for name in replaced}
            return [rows for file, (rows, _) in zip(files, found, strict=True) if name_of(file) not in gone]

        types = {field.name: field.type for field in (*ITEM_COLUMNS, *ANSWER_COLUMNS)}
        empty = pa.schema([(name, types.get(name, pa.null())) for name in columns]).empty_table()
        return pa.concat_tables([empty, *again(read_all)], promote_options="permissive")

    def all(self, status: str) -> list[str]:
        """Addresses of the files, those that may replace others first."""
        return in_reading_order(storage.files_in(self._folder(status), ".parquet"))

    def keep_rows(self, file: str, keep: np.ndarray) -> None:
        """Write a file again with some of its rows; without any it is removed."""
        if not keep.any():
            storage.remove(file)
        elif not keep.all():
            self._write(file, read_rows(file).filter(pa.array(keep)))

    def write(self, status: str, table: pa.Table) -> None:
        """Publish rows as one file, in one step.

        The file is named by the keys in it: a retried task writes over its own file.
        """
        self._write(storage.join(self._folder(status), self._name(table)), table)

    def compact(self, check: Callable[[], None]) -> None:
        """Join small files of answers, see ``compaction``."""

        def write(prefix: str, table: pa.Table, replaced: Sequence[str]) -> None:
            self._write(storage.join(self._folder("ok"), prefix + self._name(table)), table, replaced)

        compact(self._folder("ok"), write, check)

    def _name(self, table: pa.Table) -> str:
        keys = "\n".join(sorted("\t".join(key) for key in column_values(table, self._key_columns)))
        return hashlib.sha256(keys.encode()).hexdigest()[:24] + ".parquet"

    def _write(self, uri: str, rows: pa.Table, replaced: Sequence[str] = ()) -> None:
        note = FileNote.of(rows, self._key_columns).as_bytes(self._key_columns)
        storage.write_bytes(uri, as_parquet(rows, note=note, entries=footer_entry(replaced)))

    def _folder(self, status: str) -> str:
        return storage.join(self._path, "answers", f"status={status}")


def again(read: Callable[[], Value]) -> Value:
    """Read files, and once more where one is gone: another launch has joined it with others meanwhile."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError):
            return read()
    return read()
