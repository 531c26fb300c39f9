"""Parquet files in storage, with page checksums that are verified when they are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage

BLOCK_BYTES = 1 << 20  # fetched at a time where only parts of a file are read
NUM_READERS = 16  # files read at a time: object stores answer slowly, but many at once
ATTEMPTS = 2  # whole reads of a file that does not parse

Value = TypeVar("Value")


class DamagedFileError(ValueError):
    """A file's bytes are all there and are not a Parquet file."""


def read_parquet(uri: str, read: Callable[[pq.ParquetFile], Value], *, in_parts: bool = False) -> Value:
    """Read from a Parquet file, and distinguish a damaged file from a store that could not be read.

    Parameters
    ----------
    uri
        Address of the file.
    read
        Returns what is wanted of the open file; may be called again on the same file.
    in_parts
        Fetch only the byte ranges that ``read`` touches; the whole file only where that fails.

    Raises
    ------
    DamagedFileError
        All of the file's bytes were read, twice, and they are not a Parquet file with right checksums.
    StorageError
        The store can't be read, or gives fewer bytes than the file has.
    FileNotFoundError
        There is no such file.
    """
    if in_parts:
        try:
            with storage.open_binary(uri, block_bytes=BLOCK_BYTES) as handle:
                return read(_open(handle))
        except (pa.ArrowException, *storage.store_errors()):
            pass  # damage or a lost connection: reading all of its bytes shows which
    for _ in range(ATTEMPTS):
        data = storage.read_bytes(uri)
        try:
            return read(_open(pa.BufferReader(data)))
        except (pa.ArrowException, OSError) as error:
            reason = str(error)
    if len(data) != (size := storage.num_bytes(uri)):
        raise storage.StorageError(
            f"{uri}: the store gave {len(data):,} of its {size:,} bytes: give the same command again"
        )
    raise DamagedFileError(f"{uri} is not a whole Parquet file: {reason}")


def _open(source: object) -> pq.ParquetFile:
    return pq.ParquetFile(source, page_checksum_verification=True)


def as_parquet(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
