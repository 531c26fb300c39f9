"""Partial sums of a summary: of the rows of one answers file, added up to those of a run.

Every number is the same as if it were computed from all rows at once: floats are added file by file, in the
order of the files' names, as Arrow adds the chunks of a column.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprune.data import column_values
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS, RECORDING_COLUMNS, aggregated
from speechprune.data.row_keys import KIND, hash_values

TOKENS = ("num_audio_tokens", "num_kept_tokens", "num_text_tokens", "weights_bytes", "kv_cache_bytes")
ADDED = tuple(dict.fromkeys((*TOKENS, *aggregated(summary="sum"), *aggregated(summary="mean"))))
JUDGED = ("correct", "correct_without_audio")
# columns that the sums are made from
READ_COLUMNS = tuple(
    dict.fromkeys(
        (
            *(*RECORDING_COLUMNS, "answer", "error_type", "audio_seconds"),
            *(*JUDGED, *ADDED, *aggregated(summary="max")),
        )
    )
)
TYPES = {column.name: column.type for column in (*ITEM_COLUMNS, *ANSWER_COLUMNS)}


@dataclass(kw_only=True)
class Sums:
    """Sums over rows of one status."""

    num_rows: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # rows by ``error_type``
    letters: Counter[str | None] = field(default_factory=Counter)  # judged rows by their gold letter
    # totals, counts, largest: sum, number of values and maximum by column
    totals: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    largest: dict[str, Any] = field(default_factory=dict)
    # recordings, seconds: hash and length of each recording of each file
    recordings: list[np.ndarray] = field(default_factory=list)
    seconds: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, rows: pa.Table) -> Sums:
        """Sums over a table of answers, which is one chunk; columns that it lacks are null."""
        for name in READ_COLUMNS:
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.nulls(len(rows), TYPES[name]))
        judged = rows.filter(pc.is_valid(rows.column("correct")))
        parts = {**dict.fromkeys(ADDED, rows), **dict.fromkeys(JUDGED, judged)}
        columns = {name: table.column(name) for name, table in parts.items()}
        lengths = column_values(rows, (*RECORDING_COLUMNS, "audio_seconds"))
        last = {tuple(recording): seconds for *recording, seconds in lengths}
        return cls(
            num_rows=len(rows),
            failures=Counter(kind for kind in rows.column("error_type").to_pylist() if kind is not None),
            letters=Counter(judged.column("answer").to_pylist()),
            totals={name: pc.sum(column).as_py() or 0 for name, column in columns.items()},
            counts={name: pc.count(column).as_py() for name, column in columns.items()},
            largest={name: pc.max(rows.column(name)).as_py() for name in aggregated(summary="max")},
            recordings=[hash_values(last)],
            seconds=[np.array(list(last.values()), np.float64)],
        )

    def add(self, other: Sums) -> None:
        """Take the rows of another file in."""
        self.num_rows += other.num_rows
        self.failures.update(other.failures)
        self.letters.update(other.letters)
        for name in other.totals:
            self.totals[name] = self.totals.get(name, 0) + other.totals[name]
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]
        for name, value in other.largest.items():
            known = [one for one in (self.largest.get(name), value) if one is not None]
            self.largest[name] = max(known, default=None)
        self.recordings += other.recordings
        self.seconds += other.seconds

    def mean(self, name: str) -> float | None:
        """Mean of a column's values; None without any."""
        count = self.counts.get(name, 0)
        return self.totals[name] / count if count else None

    def recording_seconds(self) -> list[float]:
        """Length of every recording, each once, in the order in which they are first met."""
        keys = np.concatenate([np.empty(0, KIND), *self.recordings])
        seconds = np.concatenate([np.empty(0), *self.seconds])
        _, firsts = np.unique(keys, return_index=True)
        _, lasts = np.unique(keys[::-1], return_index=True)  # a file written later counts
        lengths: list[float] = seconds[len(keys) - 1 - lasts][np.argsort(firsts)].tolist()
        return lengths

    def as_json(self) -> dict[str, Any]:
        """Everything, of one file, as JSON keeps it; floats to the bit."""
        return {
            **vars(self),
            "letters": list(self.letters.items()),
            "recordings": np.concatenate(self.recordings).tobytes().hex(),
            "seconds": np.concatenate(self.seconds).tolist(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Sums:
        """The inverse of ``as_json``."""
        return cls(
            **values
            | {
                "failures": Counter(values["failures"]),
                "letters": Counter(dict(values["letters"])),
                "recordings": [np.frombuffer(bytes.fromhex(values["recordings"]), KIND)],
                "seconds": [np.array(values["seconds"], np.float64)],
            }
        )
