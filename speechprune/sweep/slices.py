"""Slices of a benchmark's items: all, the hard ones, and by what is known of an item."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprune.data.columns import ANSWER_COLUMNS, COLUMN_NAMES
from speechprune.sweep.answer_sheet import AnswerSheet

ALL_ITEMS = "all"
HARD_ITEMS = "hard"
ORIGINAL = "truncate"  # name of the point whose wrong answers make an item hard

QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
# seconds, the longest of each class, and its name
LENGTHS = (
    (30.0, "up to 30 s"),
    (60.0, "30 s to 1 min"),
    (120.0, "1 to 2 min"),
    (600.0, "2 to 10 min"),
    (1800.0, "10 to 30 min"),
    (np.inf, "over 30 min"),
)

# slices that are worked out, and the columns that they are worked out from
_SOURCES = {"position": ["audio_seconds", "start", "evidence_start"], "length": ["audio_seconds"]}
_NOT_OF_ITEMS = {field.name for field in ANSWER_COLUMNS} | {"status", "benchmark", "point"}


def columns_for(slices: Sequence[str]) -> list[str]:
    """The columns of items that ``item_slices`` looks at."""
    return sorted({column for name in slices for column in _SOURCES.get(name, [name])})


def check_slices(items: pa.Table, slices: Sequence[str]) -> None:
    """Refuse slices that a manifest's columns can't give; its answers have these columns too.

    Raises
    ------
    ValueError
        A column is missing, or empty, or holds no plain values; the sentence names it.
    """
    of_items = [name for name in items.column_names if name not in _NOT_OF_ITEMS]
    for name in slices:
        # of what a slice is worked out from, the columns of any answer need not be in the manifest
        for column in [c for c in _SOURCES[name] if c not in COLUMN_NAMES] if name in _SOURCES else [name]:
            if column not in of_items:
                valid = ", ".join([*_SOURCES, *(other for other in of_items if other not in _SOURCES)])
                needs = f"{name} needs" if column != name else "there is no"
                raise ValueError(f"slices: {needs} column {column} in the manifest; valid here: {valid}")
            if pa.types.is_nested(items.schema.field(column).type):
                raise ValueError(f"slices: column {column} holds lists, give one with one value an item")
            if items.column(column).null_count == len(items):
                raise ValueError(f"slices: column {column} is empty in every row, no item is in such a slice")


def item_slices(sheet: AnswerSheet, slices: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Names of the slices that have items, each with a boolean per item.

    ``slices``: ``position`` is where in the recording the answer is spoken, ``length`` the recording's, any
    other the values of a column. Items of which that is not known are in no slice of it: the length of a
    recording that no point could answer about, for one.
    """
    found = [(ALL_ITEMS, np.ones(sheet.num_items, bool))]
    if ORIGINAL in sheet.points:
        # the paper's SPIRAL-H: not answered by the beginning of the recording, nor by a lucky guess
        found.append((HARD_ITEMS, sheet.numbers["correct"][sheet.points.index(ORIGINAL)] == 0))
    for name in slices:
        if name == "position":
            found += _classes(name, _quarter(sheet.of_items), QUARTERS)
        elif name == "length":
            found += _classes(name, _length_class(sheet.of_items), [length for _, length in LENGTHS])
        else:
            found += _values(name, sheet.of_items.column(name))
    return [(name, is_chosen) for name, is_chosen in found if is_chosen.any()]


def _quarter(items: pa.Table) -> np.ndarray:
    """⌊4·(evidence_start - start) / audio_seconds⌋; the recording's end is in its last quarter."""
    start = pc.fill_null(items.column("start").cast(pa.float64()), 0.0).to_numpy()
    evidence, length = (_floats(items, name) for name in ("evidence_start", "audio_seconds"))
    return np.floor(4 * (evidence - start) / length)


def _length_class(items: pa.Table) -> np.ndarray:
    seconds = _floats(items, "audio_seconds")
    longest = [limit for limit, _ in LENGTHS]
    return np.where(np.isnan(seconds), np.nan, np.searchsorted(longest, seconds))


def _floats(items: pa.Table, name: str) -> np.ndarray:
    return items.column(name).cast(pa.float64()).to_numpy()


def _classes(name: str, classes: np.ndarray, titles: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    return [(f"{name}: {title}", classes == number) for number, title in enumerate(titles)]


def _values(name: str, column: pa.ChunkedArray) -> list[tuple[str, np.ndarray]]:
    texts = np.array([None if value is None else str(value) for value in column.to_pylist()], object)
    values = sorted({text for text in texts if text is not None}, key=_natural)
    return [(f"{name}: {value}", texts == value) for value in values]


def _natural(text: str) -> list[tuple[int, float, str]]:
    """Sorts 5 dB before 10 dB."""
    parts = re.split(r"(-?\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts)]
