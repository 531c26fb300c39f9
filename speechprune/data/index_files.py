"""Files of an index: one folder per model with Parquet files of windows, which are its only state.

``windows/*.parquet`` hold ``WINDOWS_SCHEMA`` with one row group per shard of a recording,
``listing.parquet`` which these are, ``run.json`` settings and versions, ``summary.json`` the counts of the
last run, ``set_aside/`` files that can't be read.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from speechprune import storage
from speechprune.data.index_columns import ACCOUNT_COLUMNS, SHARD_COLUMNS, WINDOW_KEY_COLUMNS, WINDOWS_SCHEMA
from speechprune.data.index_listing import FileShards, Shard, read_listing, write_listing
from speechprune.data.parquet_files import (
    BLOCK_BYTES,
    NUM_READERS,
    DamagedFileError,
    as_parquet,
    open_parquet,
    read_parquet,
)


class Part(NamedTuple):
    """A row group: one shard of a recording, as it lies in a file."""

    file: str
    row_group: int


@dataclass
class IndexedRecording:
    """What the index holds of one version of a recording."""

    num_shards: int  # of which it should consist
    parts: dict[int, Part] = field(default_factory=dict)  # where those are that it has, by number

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are not there."""
        return [shard for shard in range(self.num_shards) if shard not in self.parts]

    @property
    def is_complete(self) -> bool:
        """Whether it can be asked."""
        return len(self.parts) == self.num_shards


Contents = dict[tuple[str, str], IndexedRecording]  # by recording and version


class WindowsDirectory:
    """Reads and writes the windows of one model, in its folder of an index: local or any fsspec URL."""

    def __init__(self, path: str) -> None:
        self.path = storage.output_folder(path)
        self._fs, self._root = storage.filesystem(self.path)

    def files(self) -> list[str]:
        """All files of windows."""
        return storage.files_in(storage.join(self.path, "windows"), ".parquet")

    def settle(self, current: Mapping[str, str] | None = None) -> Contents:
        """Put the windows in order, and say what is there.

        Files that can't be read are set aside. A shard that lies in two files, as after a kill, stays in one.

        ``current``: version of every recording of the archive: the shards of others are dropped. None keeps
        all.
        """
        contents: Contents = {}
        files = []
        for file, shards in self._read_shards(self.files()):
            if shards is None:
                self._set_aside(file)
            else:
                files.append((file, shards))
        for (file, kept), (_, shards) in zip(_without_repeats(files, current), files, strict=True):
            if not kept:
                storage.remove(file)
            elif len(kept) < len(shards):
                parts = [Part(file, group) for _, _, group in kept]
                storage.write_bytes(file, as_windows_file(read_parts(parts)))
            rewritten = [(shard, num_shards, group) for group, (shard, num_shards, _) in enumerate(kept)]
            _add_parts(contents, file, rewritten)
        return contents

    def contents(self) -> Contents:
        """What is there, for a reader: nothing is changed, and files that can't be read are passed over."""
        sizes = self.sizes()
        listed = read_listing(self.path, sizes)
        others = [file for file in sizes if file not in listed]
        for file, shards in self._read_shards(others):
            if shards is None:
                logger.warning("{} is not a whole file of the index: passed over", file)
            else:
                listed[file] = shards
        contents: Contents = {}
        files = sorted(listed.items())
        for file, kept in _without_repeats(files, current=None) if others else files:
            _add_parts(contents, file, kept)
        return contents

    def write_listing(self, contents: Contents) -> None:
        """Write down what is there, so that readers need not open all files.

        - ``contents``: after ``settle``.
        """
        files: dict[str, list[tuple[Shard, int, int]]] = defaultdict(list)
        for (recording, version), there in contents.items():
            for number, part in there.parts.items():
                files[part.file].append(((recording, version, number), there.num_shards, part.row_group))
        write_listing(self.path, sorted(files.items()), self.sizes())

    def _read_shards(self, files: Sequence[str]) -> Iterator[tuple[str, list[tuple[Shard, int, int]] | None]]:
        """Files with their shards, None of one that is damaged."""
        with ThreadPoolExecutor(NUM_READERS) as pool:
            yield from zip(files, pool.map(self._shards_of, files), strict=True)

    def _shards_of(self, file: str) -> list[tuple[Shard, int, int]] | None:
        """Shards of a file, None if it is damaged."""
        try:
            sizes, keys = read_parquet(file, _sizes_and_keys, in_parts=True)
        except FileNotFoundError:  # compacted meanwhile
            return []
        except DamagedFileError:
            return None
        firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
        rows = keys.take(pa.array(firsts, pa.int64())).to_pylist()
        return [
            ((row["recording"], row["version"], row["shard"]), row["num_shards"], group)
            for group, row in enumerate(rows)
        ]

    def _set_aside(self, file: str) -> None:
        storage.move_into(file, storage.join(self.path, "set_aside"))
        logger.warning("set aside {}: it is not a whole Parquet file; its recordings are encoded again", file)

    def read_columns(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all windows."""

        def read(file: str) -> pa.Table:
            return read_parquet(file, lambda parquet: parquet.read(list(columns)), in_parts=True)

        with ThreadPoolExecutor(NUM_READERS) as pool:
            empty = pa.schema([WINDOWS_SCHEMA.field(name) for name in columns]).empty_table()
            return pa.concat_tables([empty, *pool.map(read, self.files())])

    def write(self, windows: pa.Table) -> None:
        """Publish windows of whole shards as one file, in one step.

        The file is named by the shards in it: a retried task writes over its own file.
        """
        keys = sorted({tuple(map(str, key.values())) for key in windows.select(SHARD_COLUMNS).to_pylist()})
        name = hashlib.sha256("\n".join("\t".join(key) for key in keys).encode()).hexdigest()[:24]
        uri = storage.join(self.path, "windows", f"{name}.parquet")
        storage.write_bytes(uri, as_windows_file(windows))

    def copy(self, source: IndexedRecording, recording: str, version: str) -> None:
        """Write the windows of a recording once more, as those of another that holds the same."""
        parts = [source.parts[number] for number in sorted(source.parts)]
        table = read_parts(parts)
        for name, value in (("recording", recording), ("version", version)):
            place = table.column_names.index(name)
            table = table.set_column(
                place, table.schema.field(name), pa.array([value] * len(table), pa.string())
            )
        self.write(table)

    def settings(self) -> dict[str, Any]:
        """Read the settings that the windows were made with."""
        uri = storage.join(self.path, "run.json")
        settings = storage.read_json(uri).get("settings")
        if not isinstance(settings, dict):
            raise storage.StorageError(f"{uri} is damaged (it has no settings): restore it from a copy")
        return settings

    def states(self) -> str:
        """How states are stored here."""
        return str(self.settings()["index.states"])

    def sizes(self) -> dict[str, int]:
        """Bytes of every file of windows."""
        try:
            infos = self._fs.ls(storage.join(self._root, "windows"), detail=True)
        except FileNotFoundError:
            return {}
        named = self._fs.unstrip_protocol if storage.is_remote(self.path) else str
        return {
            named(info["name"]): int(info["size"])
            for info in sorted(infos, key=itemgetter("name"))
            if info["name"].endswith(".parquet")
        }


def _sizes_and_keys(parquet: pq.ParquetFile) -> tuple[list[int], pa.Table]:
    """Rows of each row group, and the key columns; the account's are read for their checksums."""
    sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    return sizes, parquet.read([*WINDOW_KEY_COLUMNS, *ACCOUNT_COLUMNS])


def _without_repeats(files: Sequence[FileShards], current: Mapping[str, str] | None) -> Iterator[FileShards]:
    """The same files, without shards of outdated versions, of other cuts, and those of earlier files."""
    cuts = _chosen_cuts(files)
    seen: set[Shard] = set()
    for file, shards in files:
        kept = []
        for shard, num_shards, group in shards:
            recording, version, _ = shard
            is_current = current is None or current.get(recording) == version
            if is_current and cuts[recording, version] == num_shards and shard not in seen:
                seen.add(shard)
                kept.append((shard, num_shards, group))
        yield file, kept


def _add_parts(contents: Contents, file: str, shards: list[tuple[Shard, int, int]]) -> None:
    for (recording, version, number), num_shards, group in shards:
        known = contents.setdefault((recording, version), IndexedRecording(num_shards))
        known.parts[number] = Part(file, group)


def _chosen_cuts(files: Sequence[FileShards]) -> dict[tuple[str, str], int]:
    """Number of shards that each recording is cut into; of several the one nearest to complete.

    A recording is cut by its header, which may have been out of reach when a part of it was encoded.
    """
    numbers: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for _, shards in files:
        for (recording, version, number), num_shards, _ in shards:
            numbers[recording, version, num_shards].add(number)
    chosen: dict[tuple[str, str], int] = {}
    for recording, version, num_shards in sorted(
        numbers, key=lambda cut: (len(numbers[cut]) / cut[2], -cut[2])
    ):
        chosen[recording, version] = num_shards  # the last one wins
    return chosen


def as_windows_file(windows: pa.Table) -> bytes:
    """Windows as the bytes of a Parquet file, a row group a shard: reading one touches no other."""
    windows = windows.select(WINDOWS_SCHEMA.names).cast(WINDOWS_SCHEMA)
    keys = [tuple(row.values()) for row in windows.select(SHARD_COLUMNS).to_pylist()]
    shards = []
    begin = 0
    for end in range(1, len(keys) + 1):
        if end == len(keys) or keys[end] != keys[begin]:
            shards.append(windows.slice(begin, end - begin))
            begin = end
    names = ["recording", "version", "dtype", "model", "revision"]
    return as_parquet(*shards, use_dictionary=names)


def read_parts(parts: Sequence[Part], columns: Sequence[str] | None = None) -> pa.Table:
    """Windows of some shards, those of each in order; of a file only their row groups are fetched."""
    by_file: dict[str, list[int]] = defaultdict(list)
    for part in parts:
        by_file[part.file].append(part.row_group)
    tables = {}
    for file, groups in by_file.items():
        with storage.open_binary(file, block_bytes=BLOCK_BYTES) as handle:
            try:
                parquet = open_parquet(handle)
            except DamagedFileError as error:
                raise DamagedFileError(f"{file} is damaged ({error}): index the archive again") from error
            names = None if columns is None else list(columns)
            for group in groups:
                tables[file, group] = parquet.read_row_group(group, columns=names)
    return pa.concat_tables([tables[part.file, part.row_group] for part in parts])


def stored_parts(contents: Contents) -> dict[str, list[Part]]:
    """Where the windows of every complete recording are, in order, by its address."""
    return {
        uri: [there.parts[number] for number in range(there.num_shards)]
        for (uri, _), there in contents.items()
        if there.is_complete
    }
