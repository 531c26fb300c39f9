"""Rows of a table on local disk, of which a process holds a part at a time, however many they are."""

from __future__ import annotations

import mmap
import tempfile
from functools import cached_property

import numpy as np
import pyarrow as pa

from speechprune import storage

ALIGNMENT = 64  # of a table in its file, as Arrow wishes


class DiskFile:
    """A nameless temporary file of tables: all are added, then read."""

    def __init__(self) -> None:
        self._place = tempfile.gettempdir()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._starts: list[int] = []

    def add(self, table: pa.Table) -> None:
        """Write a table behind the others.

        Raises
        ------
        StorageError
            The disk is full.
        """
        with storage.storage_errors(self._place):
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            self._starts.append(self._file.tell())
            with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), table.schema) as writer:
                writer.write_table(table)

    @cached_property
    def map(self) -> mmap.mmap:
        """The file as memory that the kernel reads from disk when it is used."""
        with storage.storage_errors(self._place), self._file:
            self._file.flush()
            return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def tables(self) -> list[pa.Table]:
        """The tables, of such memory."""
        data = pa.py_buffer(self.map)
        return [pa.ipc.open_stream(data.slice(start)).read_all() for start in self._starts]


class DiskRows:
    """A table, or some of its rows, to be read a part at a time.

    Parameters
    ----------
    table
        Its buffers may be those of a ``DiskFile``.
    disk
        The file: the memory that it takes is given back before each part is read.
    numbers
        The rows; None for all.
    """

    def __init__(
        self, table: pa.Table, disk: DiskFile | None = None, numbers: np.ndarray | None = None
    ) -> None:
        self._table = table
        self._disk = disk
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._table) if self._numbers is None else len(self._numbers)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        names: list[str] = self._table.column_names
        return names

    def subset(self, numbers: np.ndarray) -> DiskRows:
        """Some of the rows, none of which is read yet."""
        return DiskRows(self._table, self._disk, self._places(numbers))

    def slice(self, start: int, length: int) -> pa.Table:
        """Consecutive rows."""
        if self._numbers is not None:
            return self.take(np.arange(start, min(len(self), start + length)))
        self._release()
        return self._table.slice(start, length)

    def take(self, numbers: np.ndarray) -> pa.Table:
        """A copy of some rows, in one chunk."""
        self._release()
        places = self._places(numbers)
        batches, ends = self._batches
        which = np.searchsorted(ends, places, side="right")
        order = np.argsort(which, kind="stable")
        parts = [self._table.schema.empty_table()]
        for number in np.unique(which).tolist():
            local = places[order[which[order] == number]] - (ends[number] - len(batches[number]))
            parts.append(pa.Table.from_batches([batches[number].take(pa.array(local))]))
        # one chunk: a slice of several takes longer
        rows = pa.concat_tables(parts).combine_chunks()
        return rows if len(parts) <= 2 else rows.take(pa.array(np.argsort(order, kind="stable")))

    def _places(self, numbers: np.ndarray) -> np.ndarray:
        return numbers if self._numbers is None else self._numbers[numbers]

    @cached_property
    def _batches(self) -> tuple[list[pa.RecordBatch], np.ndarray]:
        batches = self._table.to_batches()
        return batches, np.cumsum([len(batch) for batch in batches])

    def _release(self) -> None:
        if self._disk is not None:
            self._disk.map.madvise(mmap.MADV_DONTNEED)  # the bytes stay on disk
