"""Run directory, local or in object storage, and the order of steps in which a job resumes it.

``answers/status=ok/*.parquet`` and ``answers/status=failed/*.parquet`` hold one row per item and are the only
state; ``run.json`` holds the settings that made them, ``summary.json`` the results, ``set_aside/`` damaged
files, ``leases/`` the lease of the launch that is writing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune import storage
from speechprune.data import collector_paused
from speechprune.data.disk_rows import DiskRows
from speechprune.data.parquet_files import read_parquet
from speechprune.data.row_keys import KIND, KeySet, hash_rows
from speechprune.pipeline.answers_files import AnswersFiles, again
from speechprune.pipeline.changed_items import ASKED_COLUMNS, refuse_changed_items
from speechprune.pipeline.file_note import FileHashes, hash_asked, item_columns
from speechprune.pipeline.lease import Lease
from speechprune.pipeline.settings import check_settings, compare_settings, output_path_errors
from speechprune.pipeline.sums import Sums

LEASE_MINUTES = 1.0


class RunStore:
    """Reads and writes one run directory.

    Every job that answers goes through the same steps::

        with store.launch(settings, config):        # take the lease, check settings, recover files
            with store.answering(items) as todo:    # refuse changed items, drop failures
                ...                                 # workers write the answers to ``todo``
                                                    # recover files again
            store.finish(summary)                   # check the lease, write the summary, join small files
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
        self._files = AnswersFiles(self.path, key_columns)
        self.answered = KeySet()
        self._items = KeySet()  # of the answers, and ``_asked`` what was asked, by the numbers of its rows
        self._asked = np.empty(0, KIND)
        self._sums: Sums | None = None  # over all answers
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
    def answering(self, items: pa.Table | DiskRows, keys: KeySet | None = None) -> Iterator[KeySet]:
        """Yield the keys that are to be answered in this launch, their earlier failures dropped.

        - ``items``: items of the manifest, with the column ``benchmark`` where that is a key column.
        - ``keys``: all keys that the job wants answered. Default: those of the items.

        Raises
        ------
        ManifestError
            An answered item now asks something else.
        """
        self.check_items(items)
        wanted = KeySet(hash_rows(items, self.key_columns)) if keys is None else keys
        todo = wanted.without(self.answered)
        self.drop_failed(todo)
        yield todo
        if todo:
            self._lease.check()
            self.recover()

    def finish(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``, then join small answers files.

        Raises
        ------
        LeaseError
            Another launch has taken over.
        """
        self._lease.check()
        storage.write_json(storage.join(self.path, "summary.json"), summary)
        self._files.compact(self._lease.check)

    # the same checks before a launch, which write nothing

    def look(self) -> None:
        """Set ``answered``; raise ``LeaseError`` where another launch writes to the directory.

        Whether this one could write to it is not tried.
        """
        with output_path_errors(self._place):
            self._keep_answered(again(lambda: self._read_hashes("ok")))
            Lease(self.path, LEASE_MINUTES).look()

    def compare(
        self, settings: dict[str, Any], items: pa.Table | DiskRows | None, may_be_new: Collection[str] = ()
    ) -> None:
        """Raise what ``launch`` and ``answering`` would raise about settings and items, after ``look``."""
        with output_path_errors(self._place):
            holds = self._holds()
        compare_settings(self.path, settings, holds=holds, place=self._place, may_be_new=may_be_new)
        if items is not None:
            self.check_items(items)

    # its parts

    def _holds(self) -> str | None:
        return "answers" if self._files.all("ok") or self._files.all("failed") else None

    def recover(self) -> KeySet:
        """Set damaged files aside and leave one row per key; return the keys that are answered.

        A worker that outlived its killed driver may have written an item again, and an item that failed once
        may be answered by now.
        """
        found = self._read_hashes("ok", set_aside=True)
        self._keep_answered(found)
        if not self._keep_first_rows(found, self.answered, KeySet()):
            self._sums = None
        failed = self._read_hashes("failed", set_aside=True)
        self._keep_first_rows(failed, KeySet(failed.keys), self.answered)
        return self.answered

    def _keep_first_rows(self, found: FileHashes, keys: KeySet, seen: KeySet) -> bool:
        """Drop rows of keys that were seen, in the set or in an earlier row; return whether there are none.

        - ``found``: what is in the files, and ``keys`` the set of it.
        """
        keep = np.zeros(len(found.keys), bool)
        keep[keys.first_rows] = True
        keep &= ~seen.holds(found.keys)
        ends = np.cumsum(found.num_rows)
        for file, num_rows, end in zip(found.files, found.num_rows, ends, strict=True):
            self._files.keep_rows(file, keep[end - num_rows : end])
        return bool(keep.all())

    def _keep_answered(self, found: FileHashes) -> None:
        self.answered = KeySet(found.keys)
        self._items = self.answered if found.items is found.keys else KeySet(found.items)
        self._asked = found.asked
        self._sums = found.sums

    def _read_hashes(self, status: str, *, set_aside: bool = False) -> FileHashes:
        return FileHashes.of(self._files.notes(status, set_aside=set_aside), self.key_columns)

    def check_items(self, items: pa.Table | DiskRows) -> None:
        """Refuse items that ask something else than what is answered under their id."""
        if not self.answered:
            return
        names = item_columns(self.key_columns)
        rows = self._items.rows(hash_rows(items, names))
        with collector_paused():
            is_other = (rows >= 0) & (self._asked[rows] != hash_asked(items))
        if is_other.any():
            answered = self.read_answers("ok", [*names, *ASKED_COLUMNS])
            changed = items.take(np.flatnonzero(is_other))
            refuse_changed_items(answered, changed, names, path=self.path, place=self._place)

    def drop_failed(self, keys: KeySet) -> None:
        """Drop the failed rows of what is about to be tried again."""
        if keys:
            for file, note in self._files.notes("failed", set_aside=True):
                self._files.keep_rows(file, ~keys.holds(note.keys))

    def sums(self, status: str, items: KeySet) -> Sums:
        """Sums of a summary over the rows of some items; damaged files are left out."""
        if status == "ok" and self._sums is not None and items.holds(self._items.keys).all():
            return self._sums
        total = Sums()
        for file, note in self._files.notes(status):
            is_wanted = items.holds(note.items)
            if is_wanted.all():
                total.add(note.sums)
            elif is_wanted.any():
                rows = read_parquet(file, lambda parquet: parquet.read()).filter(pa.array(is_wanted))
                total.add(Sums.of(rows.combine_chunks()))
        return total

    def read_answers(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status; null in files that lack one. Damaged files are left out."""
        return self._files.read(status, columns)

    def write_answers(self, status: str, table: pa.Table) -> None:
        """Publish rows as one file, in one step.

        The file is named by the keys in it: a retried task writes over its own file.
        """
        self._sums = None
        self._files.write(status, table)
