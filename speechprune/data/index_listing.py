"""Listing of the parts in an index's files, so that a reader opens one file and not all of them.

``listing.parquet`` stands beside ``windows`` and only saves time: of a file that it does not name, or names
with another size, the parts are read from the file itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.data.column import arrow_field
from speechprune.data.index_columns import SHARD_COLUMNS, WINDOWS_SCHEMA
from speechprune.data.parquet_files import DamagedFileError, as_parquet, read_parquet

Shard = tuple[str, str, int]  # recording, version, number
# a file with its shards: which, out of how many, and the number of its row group
FileShards = tuple[str, list[tuple[Shard, int, int]]]

_SCHEMA = pa.schema(
    [
        arrow_field("file", pa.string(), "name in the folder windows"),
        arrow_field("file_bytes", pa.int64(), "its size"),
        arrow_field("row_group", pa.int64(), "that is this part"),
        *(WINDOWS_SCHEMA.field(name) for name in (*SHARD_COLUMNS, "num_shards")),
    ]
)


def write_listing(path: str, files: Sequence[FileShards], sizes: Mapping[str, int]) -> None:
    """Write the listing of an index.

    - ``path``: the model's folder.
    - ``sizes``: bytes of each file.
    """
    rows = [
        (_name(file), sizes[file], group, *shard, num_shards)
        for file, shards in files
        for shard, num_shards, group in shards
    ]
    table = pa.table(dict(zip(_SCHEMA.names, zip(*rows, strict=True), strict=True)) if rows else {}, _SCHEMA)
    storage.write_bytes(storage.join(path, "listing.parquet"), as_parquet(table))


def read_listing(path: str, sizes: Mapping[str, int]) -> dict[str, list[tuple[Shard, int, int]]]:
    """Read the shards of the files that are as they were when the listing was written, by file."""
    try:
        table = read_parquet(storage.join(path, "listing.parquet"), lambda parquet: parquet.read())
    except FileNotFoundError:
        return {}
    except DamagedFileError as error:
        logger.warning("all files of the index are opened: {}; its next run writes the listing again", error)
        return {}
    names = {_name(file): file for file in sizes}
    listed: dict[str, list[tuple[Shard, int, int]]] = defaultdict(list)
    columns = (table.column(name).to_pylist() for name in _SCHEMA.names)
    for name, file_bytes, group, recording, version, shard, num_shards in zip(*columns, strict=True):
        file = names.get(name)
        if file is not None and sizes[file] == file_bytes:
            listed[file].append(((recording, version, shard), num_shards, group))
    return dict(listed)


def _name(file: str) -> str:
    return file.rpartition("/")[2]
