"""Keys of rows as hashes of 128 bits: a launch compares millions of rows in arrays of 16 bytes each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from speechprune.data import column_values

if TYPE_CHECKING:
    from speechprune.data.disk_rows import DiskRows

NUM_BYTES = 16
KIND = np.dtype(f"S{NUM_BYTES}")
ROWS_AT_A_TIME = 10_000  # become Python objects
KEYS_AT_A_TIME = 1_000_000  # looked up together


def hash_values(rows: Iterable[tuple[Any, ...]]) -> np.ndarray:
    """Hash tuples of plain values; equal ones have equal hashes, others differ but for one pair in 2^128."""
    texts = (repr(row).encode("utf-8", "surrogatepass") for row in rows)
    return np.frombuffer(b"".join(hashlib.blake2b(t, digest_size=NUM_BYTES).digest() for t in texts), KIND)


def hash_rows(table: pa.Table | DiskRows, names: Sequence[str]) -> np.ndarray:
    """Hash some columns of every row."""
    starts = range(0, len(table), ROWS_AT_A_TIME)
    hashes = np.empty(len(table), KIND)
    for start in starts:
        hashes[start : start + ROWS_AT_A_TIME] = hash_values(
            column_values(table.slice(start, ROWS_AT_A_TIME), names)
        )
    return hashes


class KeySet:
    """A set of keys, each with the number of its first row."""

    def __init__(self, keys: np.ndarray | None = None) -> None:
        every = np.empty(0, KIND) if keys is None else keys
        order = np.argsort(every, kind="stable")
        ordered = every[order]
        is_first = np.append(np.ones(min(1, len(every)), bool), ordered[1:] != ordered[:-1])
        is_set = is_first.all()  # then nothing is copied: of ten million keys it would be hundreds of MB
        self.keys: np.ndarray = ordered if is_set else ordered[is_first]
        self.first_rows: np.ndarray = order if is_set else order[is_first]

    @classmethod
    def of(cls, keys: Iterable[tuple[str, ...]]) -> KeySet:
        """The set of some keys as they stand in their columns."""
        return cls(hash_values(keys))

    def __len__(self) -> int:
        return len(self.keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and np.array_equal(self.keys, other.keys)

    __hash__ = None  # type: ignore[assignment]

    def without(self, others: KeySet) -> KeySet:
        """The set of those keys that are not in another."""
        return KeySet(self.keys[~others.holds(self.keys)])

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Whether each of some keys is in the set."""
        return self.rows(keys) >= 0

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """Number of the first row of each of some keys; -1 of those that are not in the set."""
        rows = np.full(len(keys), -1)
        for start in range(0, len(keys) if len(self.keys) else 0, KEYS_AT_A_TIME):
            some = keys[start : start + KEYS_AT_A_TIME]
            places = np.minimum(np.searchsorted(self.keys, some), len(self.keys) - 1)
            rows[start : start + KEYS_AT_A_TIME] = np.where(
                self.keys[places] == some, self.first_rows[places], -1
            )
        return rows
