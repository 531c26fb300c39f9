"""A run directory, local or in object storage: answers are its only state.

``answers/status=ok/*.parquet`` and ``answers/status=failed/*.parquet`` hold one row an item,
``run.json`` what made them, ``summary.json`` what came out, ``set_aside/`` files that can't be read.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from loguru import logger

from speechprune import storage
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS

STATUSES = ("ok", "failed")
NUM_READERS = 16  # files read at a time: object stores answer slowly, but many at once


class JobDirectory:
    """What a job makes, with ``run.json``: what it was made by.

    Parameters
    ----------
    path
        Local folder or any fsspec URL; made when first written to.
    """

    def __init__(self, path: str) -> None:
        self.path = storage.absolute(path)
        self._fs, self._root = storage.filesystem(self.path)

    def read_run(self) -> dict[str, Any] | None:
        """``run.json``, or None before the first launch."""
        try:
            record: dict[str, Any] = json.loads(storage.read_text(storage.join(self.path, "run.json")))
        except FileNotFoundError:
            return None
        return record

    def write_run(self, record: dict[str, Any]) -> None:
        """Write ``run.json``."""
        storage.write_bytes(storage.join(self.path, "run.json"), json.dumps(record, indent=2).encode())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``."""
        uri = storage.join(self.path, "summary.json")
        storage.write_bytes(uri, json.dumps(summary, indent=2).encode())


Key = tuple[str, ...]


class RunDirectory(JobDirectory):
    """Reads and writes one run directory.

    Parameters
    ----------
    path
        See ``JobDirectory``.
    key_columns
        What a row is one of: an item, or an item at one point of a sweep.
    """

    def __init__(self, path: str, key_columns: Sequence[str] = ("item_id",)) -> None:
        super().__init__(path)
        self.key_columns = list(key_columns)

    def settle(self) -> set[Key]:
        """Put the answers in order, and say what is answered.

        Files that can't be read are set aside. A worker that outlived its killed driver may have
        written an item again, and an item that failed once may be answered by now: one row stays.

        Returns
        -------
        set of tuple of str
            Keys of the rows under ``status=ok``.
        """
        answered: set[Key] = set()
        self._keep_first_rows("ok", seen=answered)
        self._keep_first_rows("failed", seen=set(answered))
        return answered

    def _keep_first_rows(self, status: str, seen: set[Key]) -> None:
        for file, keys in self._read_keys(status):
            keep = []
            for key in keys:
                keep.append(key not in seen)
                seen.add(key)
            if not all(keep):
                self._rewrite(file, pa.array(keep, pa.bool_()))

    def forget_failures(self, keys: Iterable[Key]) -> None:
        """Drop the failed rows of what is about to be tried again."""
        again = set(keys)
        for file, failed in self._read_keys("failed"):
            self._rewrite(file, pa.array([key not in again for key in failed], pa.bool_()))

    def _rewrite(self, file: str, keep: pa.Array) -> None:
        if not pc.any(keep).as_py():
            self._fs.rm_file(file)
        elif not pc.all(keep).as_py():
            table = pq.read_table(io.BytesIO(self._fs.cat_file(file))).filter(keep)
            storage.write_bytes(self._fs.unstrip_protocol(file), as_parquet(table))

    def _read_keys(self, status: str) -> Iterator[tuple[str, list[Key]]]:
        """Every readable answers file and the keys in it; the others are set aside."""
        with ThreadPoolExecutor(NUM_READERS) as pool:
            files = self._files(status)
            for file, table in zip(
                files, pool.map(lambda f: self._read(f, self.key_columns), files), strict=True
            ):
                if table is None:
                    storage.move_into(file, storage.join(self.path, "set_aside"))
                    logger.warning("set aside {}: it is not a whole Parquet file; its items run again", file)
                else:
                    yield file, self._keys_of(table)

    def _read(self, file: str, columns: list[str]) -> pa.Table | None:
        with self._fs.open(file, "rb", block_size=1 << 20) as handle:
            try:
                return pq.ParquetFile(handle).read(columns)
            except (pa.ArrowInvalid, OSError):
                if self._fs.exists(file):  # and not a lost connection
                    return None
                raise

    def has_answers(self) -> bool:
        """Whether any item is answered."""
        return bool(self._files("ok"))

    def _files(self, status: str) -> list[str]:
        return storage.files_in(storage.join(self.path, "answers", f"status={status}"), ".parquet")

    def read_answers(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status; null in files that lack one."""
        files = self._files(status)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            tables = [
                table for table in pool.map(lambda f: self._read(f, columns), files) if table is not None
            ]
        kinds = {field.name: field.type for field in (*ITEM_COLUMNS, *ANSWER_COLUMNS)}
        asked = pa.schema([(name, kinds.get(name, pa.null())) for name in columns]).empty_table()
        return pa.concat_tables([asked, *tables], promote_options="permissive")

    def write_answers(self, status: str, table: pa.Table) -> None:
        """Publish rows as one file, in one step.

        The file is named by what is in it: a retried task writes over its own file.
        """
        keys = "\n".join(sorted("\t".join(key) for key in self._keys_of(table)))
        name = hashlib.sha256(keys.encode()).hexdigest()[:24]
        uri = storage.join(self.path, "answers", f"status={status}", f"{name}.parquet")
        storage.write_bytes(uri, as_parquet(table))

    def _keys_of(self, table: pa.Table) -> list[Key]:
        return list(zip(*(table.column(name).to_pylist() for name in self.key_columns), strict=True))


def as_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
