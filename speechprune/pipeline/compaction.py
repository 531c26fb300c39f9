"""Compaction of a run: joins its many small answers files, which take long to list and to read.

A joined file names those that it replaces. It is written before they are removed, and whoever reads it leaves
them out: a kill at any moment leaves every row once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from speechprune import storage
from speechprune.data.parquet_files import NUM_READERS, DamagedFileError, read_parquet

TARGET_BYTES = 4 << 20  # files smaller than half of this are joined, up to this
MIN_SMALL_FILES = 64  # fewer are left as they are
PREFIX = "joined-"  # and a number: a file that replaces a joined one has a higher
_REPLACES = "speechprune.replaces"  # in the footer: names of the files


def in_reading_order(files: Sequence[str]) -> list[str]:
    """Files so that what replaces others is before them."""
    joined = [file for file in files if is_joined(file)]
    return sorted(joined, reverse=True) + sorted(set(files).difference(joined))


def is_joined(file: str) -> bool:
    """Whether a file may replace others, by its name."""
    return name_of(file).startswith(PREFIX)


def name_of(file: str) -> str:
    """The name of a file in its folder."""
    return file.rsplit("/", 1)[-1]


def replaced_by(parquet: pq.ParquetFile) -> list[str]:
    """Names of the files that one replaces."""
    names: list[str] = json.loads((parquet.metadata.metadata or {}).get(_REPLACES.encode(), b"[]"))
    return names


def footer_entry(replaced: Sequence[str]) -> dict[str, str]:
    """What a joined file's footer says, for ``replaced_by``."""
    return {_REPLACES: json.dumps([name_of(file) for file in replaced])} if replaced else {}


def compact(
    folder: str, write: Callable[[str, pa.Table, Sequence[str]], None], check: Callable[[], None]
) -> None:
    """Join small files; those whose rows have other columns are kept apart.

    - ``folder``: of files none of which is replaced.
    - ``write``: writes a file that starts with a prefix: its rows, and the files that it replaces.
    - ``check``: raises where another launch writes to the folder.
    """
    sizes = storage.sizes_in(folder, ".parquet")
    small = sorted(file for file, size in sizes.items() if size < TARGET_BYTES // 2)
    if len(small) < MIN_SMALL_FILES:
        return
    logger.info("joining {:,} small files of answers", len(small))
    number = max((int(name_of(file).split("-")[1]) for file in sizes if is_joined(file)), default=0)
    groups: list[list[str]] = [[]]
    size = 0
    for file in small:
        if size + sizes[file] > TARGET_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += sizes[file]
    with ThreadPoolExecutor(NUM_READERS) as pool:
        for group in groups:
            alike: dict[bytes, dict[str, pa.Table]] = {}
            for file, rows in zip(group, pool.map(_read, group), strict=True):
                if rows is not None:
                    alike.setdefault(rows.schema.serialize().to_pybytes(), {})[file] = rows
            for tables in alike.values():
                if len(tables) > 1:
                    number += 1
                    check()
                    write(f"{PREFIX}{number:06}-", pa.concat_tables(tables.values()), list(tables))
                    list(pool.map(storage.remove, tables))


def read_rows(file: str) -> pa.Table:
    """All rows of a file, without what its footer says."""
    return read_parquet(file, lambda parquet: parquet.read(use_threads=False).replace_schema_metadata())


def _read(file: str) -> pa.Table | None:
    try:
        return read_rows(file)
    except DamagedFileError:
        return None  # the next launch sets it aside
