"""Parquet files in storage, with checksums that are verified when they are read.

Parquet has checksums of pages, but none of page headers and of the footer. Files that are written here have
two SHA-256 more, in the gap before the footer, where other readers don't look: of all that is before them,
and of the footer. Before these stand a note, if the file has one, and its length.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from typing import IO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage

BLOCK_BYTES = 1 << 20  # fetched at a time where only parts of a file are read
NUM_READERS = 16  # files read at a time: object stores answer slowly, but many at once
ATTEMPTS = 2  # whole reads of a file that does not parse

_NAME = b"speechprune.sha256"  # stands before the digests, and in the footer of a file that has them
_DIGESTS_BYTES = len(_NAME) + 2 * 32
_NOTE = b"note"  # stands behind a note and its length
_LENGTH_BYTES = 4
_NOTE_END_BYTES = _LENGTH_BYTES + len(_NOTE)
_END_BYTES = 8  # length of the footer, and PAR1
_FOOTER_BYTES = 1 << 16  # usual at most: read at once

Value = TypeVar("Value")


class DamagedFileError(storage.StorageError):
    """A file's bytes are all there, and are not a Parquet file or not the one that was written."""


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
                return read(open_parquet(handle))
        except (DamagedFileError, pa.ArrowException, *storage.store_errors()):
            pass  # damage or a lost connection: reading all of its bytes shows which
    for _ in range(ATTEMPTS):
        data = storage.read_bytes(uri)
        try:
            _check_pages(data)
            return read(open_parquet(io.BytesIO(data)))
        except (DamagedFileError, pa.ArrowException, OSError) as error:
            reason = str(error)
    if len(data) != (size := storage.num_bytes(uri)):
        raise storage.StorageError(
            f"{uri}: the store gave {len(data):,} of its {size:,} bytes: give the same command again"
        )
    raise DamagedFileError(f"{uri} is not a whole Parquet file: {reason}")


def open_parquet(file: IO[bytes]) -> pq.ParquetFile:
    """Open a Parquet file that verifies its pages as they are read, and verify its footer.

    Raises
    ------
    DamagedFileError
        The footer is not the one that was written.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _FOOTER_BYTES))
    end = file.read()
    footer_bytes = min(size, _footer_bytes(end))
    if footer_bytes + _DIGESTS_BYTES > len(end):
        file.seek(max(0, size - footer_bytes - _DIGESTS_BYTES))
        end = file.read()
    if _NAME in end:
        footer = end[-footer_bytes:]
        if not end[: -len(footer)].endswith(_digest(footer)):
            raise DamagedFileError("its footer is not the one that was written")
    file.seek(0)
    return pq.ParquetFile(file, page_checksum_verification=True)


def _check_pages(data: bytes) -> None:
    """Raise ``DamagedFileError`` where a file has digests, and not that of what is before the footer."""
    if _NAME in data:  # the footer names it too, should the digests be damaged
        begin = max(0, len(data) - _footer_bytes(data) - _DIGESTS_BYTES)
        if not data[begin:].startswith(_NAME + _digest(data[:begin])):
            raise DamagedFileError("its bytes are not those that were written")


def _footer_bytes(end: bytes) -> int:
    """Length of the footer with what is behind it, as the file says."""
    return int.from_bytes(end[-_END_BYTES:][:4], "little") + _END_BYTES


def read_note(data: bytes) -> bytes | None:
    """Return the note of a file; None where it has none, or its bytes are not those that were written."""
    place = len(data) - _footer_bytes(data)
    begin = place - _DIGESTS_BYTES
    end = begin - _NOTE_END_BYTES
    if end < 0 or data[begin - len(_NOTE) : begin] + data[begin : begin + len(_NAME)] != _NOTE + _NAME:
        return None
    if data[begin + len(_NAME) : place] != _digest(data[:begin]) + _digest(data[place:]):
        return None
    return data[end - int.from_bytes(data[end : end + _LENGTH_BYTES], "little") : end]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def as_parquet(
    *row_groups: pa.Table,
    use_dictionary: bool | list[str] = True,
    note: bytes = b"",
    entries: Mapping[str, str] | None = None,
) -> bytes:
    """Return tables of one schema as the bytes of a Parquet file, a row group each.

    - ``note``: stands between the pages and the digests, for ``read_note``; other readers don't look there.
    - ``entries``: of the footer's metadata.
    """
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        row_groups[0].schema,
        compression="zstd",
        use_dictionary=use_dictionary,
        write_page_checksum=True,
    ) as writer:
        for table in row_groups:
            writer.write_table(table, row_group_size=max(1, len(table)))
        writer.add_key_value_metadata({_NAME.decode(): "before the footer"} | dict(entries or {}))
    data = sink.getvalue()
    place = len(data) - _footer_bytes(data)
    pages, footer = data[:place], data[place:]
    if note:
        pages += note + len(note).to_bytes(_LENGTH_BYTES, "little") + _NOTE
    return b"".join([pages, _NAME, _digest(pages), _digest(footer), footer])
