"""Run directory, local or in object storage, and the order of steps in which a job resumes it.

``answers/status=ok/*.parquet`` and ``answers/status=failed/*.parquet`` hold one row per item and are the only
state; ``run.json`` holds the settings that made them, ``summary.json`` the results, ``set_aside/`` damaged
files, ``leases/`` the lease of the launch that is writing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.data import column_values
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS
from speechprune.data.parquet_files import NUM_READERS, DamagedFileError, as_parquet, read_parquet
from speechprune.pipeline.changed_items import ASKED_COLUMNS, refuse_changed_items
from speechprune.pipeline.lease import Lease
from speechprune.pipeline.settings import check_settings, compare_settings, output_path_errors

LEASE_MINUTES = 1.0

Key = tuple[str, ...]


class RunStore:
    """Reads and writes one run directory.

    Every job that answers goes through the same steps::

        with store.launch(settings, config):        # take the lease, check settings, recover files
            with store.answering(items) as todo:    # refuse changed items, drop failures
                ...                                 # workers write the answers to ``todo``
                                                    # recover files again
            store.finish(summary)                   # check the lease, write the summary
                                                    # release the lease

    Readers need none of them.

    Parameters
    ----------
    path
        Local folder or any fsspec URL; made when first written to.
    key_columns
        Columns that identify a row: an item, or an item at one point of a sweep.
    place
        Setting that leads to the directory.
    """

    def __init__(
        self, path: str, key_columns: Sequence[str] = ("item_id",), *, place: str = "output.path"
    ) -> None:
        self.path = storage.output_folder(path)
        self.key_columns = list(key_columns)
        self.answered: set[Key] = set()
        self._place = place
        self._lease: Lease  # of ``launch``

    # the order of steps

    @contextlib.contextmanager
    def launch(
        self, settings: dict[str, Any], config: Any, may_be_new: Collection[str] = ()
    ) -> Iterator[None]:
        """Hold the directory for one launch; afterwards ``answered`` has the keys of the answers.

        For the arguments see ``check_settings``.

        Raises
        ------
        LeaseError
            Another launch writes to the directory.
        ConfigError
            The answers were made with other settings, or the directory can't be used.
        """
        with contextlib.ExitStack() as stack:
            with output_path_errors(self._place):
                self._lease = stack.enter_context(Lease(self.path, LEASE_MINUTES))
                holds = self._holds()
            check_settings(self.path, settings, config, holds=holds, place=self._place, may_be_new=may_be_new)
            self.recover()
            yield

    @contextlib.contextmanager
    def answering(self, items: pa.Table, keys: Iterable[Key] | None = None) -> Iterator[list[Key]]:
        """Yield the keys that are to be answered in this launch, their earlier failures dropped.

        - ``items``: items of the manifest, with the column ``benchmark`` where that is a key column.
        - ``keys``: all keys that the job wants answered. Default: those of the items.

        Raises
        ------
        ManifestError
            An answered item now asks something else.
        """
        self.check_items(items)
        wanted = column_values(items, self.key_columns) if keys is None else keys
        todo = [key for key in wanted if key not in self.answered]
        self.drop_failed(todo)
        yield todo
        if todo:
            self._lease.check()
            self.recover()

    def finish(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``; raises ``LeaseError`` where another launch has taken over."""
        self._lease.check()
        storage.write_json(storage.join(self.path, "summary.json"), summary)

    # the same checks before a launch, which write nothing

    def look(self) -> None:
        """Set ``answered``; raise ``LeaseError`` where another launch writes to the directory.

        Whether this one could write to it is not tried.
        """
        with output_path_errors(self._place):
            self.answered = set(column_values(self.read_answers("ok", self.key_columns), self.key_columns))
            Lease(self.path, LEASE_MINUTES).look()

    def compare(
        self, settings: dict[str, Any], items: pa.Table | None, may_be_new: Collection[str] = ()
    ) -> None:
        """Raise what ``launch`` and ``answering`` would raise about settings and items, after ``look``."""
        with output_path_errors(self._place):
            holds = self._holds()
        compare_settings(self.path, settings, holds=holds, place=self._place, may_be_new=may_be_new)
        if items is not None:
            self.check_items(items)

    # its parts

    def _holds(self) -> str | None:
        return "answers" if self._files("ok") or self._files("failed") else None

    def recover(self) -> set[Key]:
        """Set damaged files aside and leave one row per key; return the keys that are answered.

        A worker that outlived its killed driver may have written an item again, and an item that failed once
        may be answered by now.
        """
        self.answered = set()
        self._keep_first_rows("ok", seen=self.answered)
        self._keep_first_rows("failed", seen=set(self.answered))
        return self.answered

    def _keep_first_rows(self, status: str, seen: set[Key]) -> None:
        for file, keys in self._read_keys(status):
            keep = []
            for key in keys:
                keep.append(key not in seen)
                seen.add(key)
            self._keep_rows(file, keep)

    def check_items(self, items: pa.Table) -> None:
        """Refuse items that ask something else than what is answered under their id."""
        if self.answered:
            names = [name for name in self.key_columns if name in ("benchmark", "item_id")]
            rows = self.read_answers("ok", [*names, *ASKED_COLUMNS])
            refuse_changed_items(rows, items, names, path=self.path, place=self._place)

    def drop_failed(self, keys: Iterable[Key]) -> None:
        """Drop the failed rows of what is about to be tried again."""
        again = set(keys)
        if again:
            for file, failed in self._read_keys("failed"):
                self._keep_rows(file, [key not in again for key in failed])

    def _keep_rows(self, file: str, keep: list[bool]) -> None:
        if not any(keep):
            storage.remove(file)
        elif not all(keep):
            table = read_parquet(file, lambda parquet: parquet.read())
            storage.write_bytes(file, as_parquet(table.filter(pa.array(keep, pa.bool_()))))

    def _read_keys(self, status: str) -> Iterator[tuple[str, list[Key]]]:
        """Every whole answers file and the keys in it; damaged files are set aside."""

        def read(file: str) -> list[Key] | None:
            # all columns, as each has its checksums
            try:
                return read_parquet(file, lambda parquet: column_values(parquet.read(), self.key_columns))
            except DamagedFileError:
                return None

        files = self._files(status)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for file, keys in zip(files, pool.map(read, files), strict=True):
                if keys is None:
                    storage.move_into(file, storage.join(self.path, "set_aside"))
                    logger.warning("set aside {}: it is not a whole Parquet file; its items run again", file)
                else:
                    yield file, keys

    def read_answers(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status; null in files that lack one. Damaged files are left out."""

        def read(file: str) -> pa.Table:
            try:
                return read_parquet(file, lambda parquet: parquet.read(columns))
            except DamagedFileError as error:
                logger.warning("left out: {}", error)
                return empty

        types = {field.name: field.type for field in (*ITEM_COLUMNS, *ANSWER_COLUMNS)}
        empty = pa.schema([(name, types.get(name, pa.null())) for name in columns]).empty_table()
        with ThreadPoolExecutor(NUM_READERS) as pool:
            tables = pool.map(read, self._files(status))
            return pa.concat_tables([empty, *tables], promote_options="permissive")

    def write_answers(self, status: str, table: pa.Table) -> None:
        """Publish rows as one file, in one step.

        The file is named by the keys in it: a retried task writes over its own file.
        """
        keys = "\n".join(sorted("\t".join(key) for key in column_values(table, self.key_columns)))
        name = hashlib.sha256(keys.encode()).hexdigest()[:24]
        uri = storage.join(self.path, "answers", f"status={status}", f"{name}.parquet")
        storage.write_bytes(uri, as_parquet(table))

    def _files(self, status: str) -> list[str]:
        return storage.files_in(storage.join(self.path, "answers", f"status={status}"), ".parquet")
