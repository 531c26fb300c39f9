"""Inverted lists of coded tokens in segments: files ordered by centroid, of which a search fetches few lists.

A segment is a pair of files. ``NAME.lists`` holds for each centroid the tokens that are nearest to it, as the
numbers of their blocks (uint32) and their product codes, one list after the other, and behind them a table:
offsets of the lists in tokens (int64), a CRC-32 of each (uint32), and one of the table. ``NAME.parquet``
holds its shards, whose blocks are numbered through in their order. It is written last: without it there is
no segment.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa

from speechprune import storage
from speechprune.data.column import arrow_field
from speechprune.data.index_columns import SHARD_COLUMNS, WINDOWS_SCHEMA
from speechprune.data.index_listing import Shard
from speechprune.data.parquet_files import DamagedFileError, as_parquet, read_parquet
from speechprune.data.ranged_files import read_ranges
from speechprune.data.token_codec import CODE_BYTES

SHARDS_SCHEMA = pa.schema(
    [
        *(WINDOWS_SCHEMA.field(name) for name in SHARD_COLUMNS),
        arrow_field("num_tokens", pa.int64(), "coded tokens"),
        arrow_field("num_blocks", pa.int64(), "blocks of 2.5 s, at least 1"),
    ]
)
REMEDY = "delete the folder search above it, the next run of the index job makes it again"
_ENTRY_BYTES = 4 + CODE_BYTES
_NO_BLOCKS = np.zeros(0, np.int64)
_NO_CODES = np.zeros((0, CODE_BYTES), np.uint8)
_BATCHES = 64  # parts that a merge is made in, to keep little in memory

Entries = tuple[np.ndarray, np.ndarray]  # numbers of blocks, uint32 ``(n,)``, and codes ``(n, CODE_BYTES)``


@dataclass(frozen=True)
class Segment:
    """A segment of inverted lists."""

    folder: str
    name: str
    rows: pa.Table  # ``SHARDS_SCHEMA``
    num_lists: int

    @classmethod
    def open(cls, folder: str, name: str, num_lists: int) -> Segment:
        """Open a segment; FileNotFoundError or ``DamagedFileError`` where there is none."""
        rows = read_parquet(storage.join(folder, f"{name}.parquet"), lambda parquet: parquet.read())
        return cls(folder, name, rows, num_lists)

    @cached_property
    def shards(self) -> list[Shard]:
        """Shards, in the order of their blocks."""
        return shards_of(self.rows)

    @cached_property
    def num_blocks(self) -> np.ndarray:
        """Number of blocks of each shard, int64."""
        blocks: np.ndarray = self.rows.column("num_blocks").to_numpy()
        return blocks

    @cached_property
    def num_tokens(self) -> int:
        """Number of tokens in all lists."""
        return int(self.rows.column("num_tokens").to_numpy().sum())

    @property
    def num_bytes(self) -> int:
        """Size of its lists."""
        return self.num_tokens * _ENTRY_BYTES + _table_bytes(self.num_lists)

    @property
    def _uri(self) -> str:
        return storage.join(self.folder, f"{self.name}.lists")

    @cached_property
    def offsets(self) -> np.ndarray:
        """Tokens before each list, and the number of all, int64, ``(C + 1,)``."""
        return self._table[0]

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        start = self.num_tokens * _ENTRY_BYTES
        [data], _ = read_ranges(self._uri, [(start, start + _table_bytes(self.num_lists))])
        if (
            len(data) != _table_bytes(self.num_lists)
            or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]
        ):
            raise DamagedFileError(f"{self._uri} is damaged: {REMEDY}")
        cut = 8 * (self.num_lists + 1)
        return np.frombuffer(data[:cut], "<i8"), np.frombuffer(data[cut:-4], "<u4")

    def read(self, lists: np.ndarray) -> tuple[dict[int, Entries], int, int]:
        """Read some lists, of which the empty ones are left out; also the bytes and the number of requests.

        - ``lists``: their numbers, ascending.

        Raises
        ------
        DamagedFileError
            A list is not the one that was written.
        """
        offsets, checksums = self._table
        there = lists[offsets[lists + 1] > offsets[lists]]
        if not len(there):
            return {}, 0, 0
        ranges = [(int(offsets[i]) * _ENTRY_BYTES, int(offsets[i + 1]) * _ENTRY_BYTES) for i in there]
        parts, num_requests = read_ranges(self._uri, ranges)
        entries = {}
        for number, part in zip(there.tolist(), parts, strict=True):
            if zlib.crc32(part) != checksums[number]:
                raise DamagedFileError(f"{self._uri} is damaged: {REMEDY}")
            length = len(part) // _ENTRY_BYTES
            codes = np.frombuffer(part[4 * length :], np.uint8).reshape(-1, CODE_BYTES)
            entries[number] = np.frombuffer(part[: 4 * length], "<u4"), codes
        return entries, sum(map(len, parts)), num_requests


def _table_bytes(num_lists: int) -> int:
    return 8 * (num_lists + 1) + 4 * num_lists + 4


def write_segment(
    folder: str, rows: pa.Table, lists: np.ndarray, blocks: np.ndarray, codes: np.ndarray, num_lists: int
) -> Segment:
    """Write the coded tokens of some shards as a segment.

    Parameters
    ----------
    folder
        Where to.
    rows
        ``SHARDS_SCHEMA``.
    lists, blocks, codes
        Of each token the number of its list, that of its block in the segment, and its code.
    num_lists
        Number of lists C.
    """
    order = np.argsort(lists, kind="stable")
    bounds = np.searchsorted(lists[order], np.arange(num_lists + 1))
    pieces = (
        (blocks[order[first:last]].astype("<u4"), codes[order[first:last]])
        for first, last in pairwise(bounds)
    )
    return _write(folder, rows, pieces, num_lists)


def _write(folder: str, rows: pa.Table, lists: Iterator[Entries], num_lists: int) -> Segment:
    """Write lists as they come; named by the shards, so that a repeated task writes over its own files."""
    names = "\n".join(map(repr, shards_of(rows)))
    segment = Segment(folder, hashlib.sha256(names.encode()).hexdigest()[:24], rows, num_lists)
    lengths, checksums = [], []
    with storage.writing(segment._uri) as file:
        for blocks, codes in lists:
            data = blocks.tobytes() + codes.tobytes()
            lengths.append(len(blocks))
            checksums.append(zlib.crc32(data))
            file.write(data)
        table = np.cumsum([0, *lengths]).astype("<i8").tobytes() + np.array(checksums, "<u4").tobytes()
        file.write(table + zlib.crc32(table).to_bytes(4, "little"))
    uri = storage.join(folder, f"{segment.name}.parquet")
    storage.write_bytes(uri, as_parquet(rows, use_dictionary=["recording", "version"]))
    return segment


def merge_segments(segments: Sequence[Segment], current: Collection[Shard]) -> Segment:
    """Write several segments as one, without the shards that are no longer in the index."""
    kept = [np.array([shard in current for shard in segment.shards], bool) for segment in segments]
    rows = pa.concat_tables(
        [segment.rows.filter(pa.array(own)) for segment, own in zip(segments, kept, strict=True)]
    )
    numbers = []  # of each segment: new number of each block, -1 of those that are left out
    first = 0
    for segment, own in zip(segments, kept, strict=True):
        is_kept = np.repeat(own, segment.num_blocks)
        numbers.append(np.where(is_kept, first + np.cumsum(is_kept) - 1, -1))
        first += int(is_kept.sum())
    num_lists = segments[0].num_lists

    def pieces() -> Iterator[Entries]:
        for batch in np.array_split(np.arange(num_lists), _BATCHES):
            read = [segment.read(batch)[0] for segment in segments]
            for number in batch.tolist():
                found = [(new, own[number]) for new, own in zip(numbers, read, strict=True) if number in own]
                blocks = np.concatenate([_NO_BLOCKS, *(new[some] for new, (some, _) in found)])
                codes = np.concatenate([_NO_CODES, *(some for _, (_, some) in found)])
                yield blocks[blocks >= 0].astype("<u4"), codes[blocks >= 0]

    return _write(segments[0].folder, rows, pieces(), num_lists)


def shards_of(rows: pa.Table) -> list[Shard]:
    """Return the shard of each row."""
    columns = [rows.column(name).to_pylist() for name in SHARD_COLUMNS]
    return list(zip(*columns, strict=True))
