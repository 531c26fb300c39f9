"""Items of a manifest as Arrow tables, made of some rows at a time."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune.data import Row
from speechprune.data.columns import GOLD_SPAN_COLUMNS, ITEM_COLUMNS


def seconds_in(cell: Any) -> float | None:
    """A number, or None for an empty cell; ValueError for anything else."""
    return None if cell in (None, "") else float(str(cell))


def gold_seconds(cell: Any) -> float | None:
    """As ``seconds_in``, but NaN for what is no number: it spoils its row, not the whole manifest."""
    try:
        return seconds_in(cell)
    except ValueError:
        return math.nan


class ItemTables:
    """Columns of items in parts, joined at the end: to ``ITEM_COLUMNS`` and the carried columns."""

    def __init__(self) -> None:
        self._lengths: list[int] = []
        # parts of each column; of carried ones by part, as not all rows have all of them
        self._own: dict[str, list[pa.Array]] = {field.name: [] for field in ITEM_COLUMNS}
        self._carried: dict[str, dict[int, tuple[pa.Array, bool]]] = {}

    def add(self, items: Sequence[Row], types: dict[str, pa.DataType]) -> None:
        """Take some items, which have the same columns; ``types`` are those that the format knows."""
        number = len(self._lengths)
        self._lengths.append(len(items))
        for field in ITEM_COLUMNS:
            self._own[field.name].append(pa.array([item[field.name] for item in items], field.type))
        for name in items[0]:
            if name not in self._own:
                values = [item[name] for item in items]
                self._carried.setdefault(name, {})[number] = _carried_column(name, values, types.get(name))

    def ids(self, places: Sequence[int]) -> list[str]:
        """Ids of the items in some places."""
        column = pa.chunked_array(self._own["item_id"], pa.string())
        return [column[place].as_py() for place in places]

    def joined(self) -> pa.Table:
        """All items."""
        fields = [pa.field(field.name, field.type) for field in ITEM_COLUMNS]
        columns = [pa.chunked_array(self._own[field.name], field.type) for field in fields]
        for name, parts in self._carried.items():
            every = [parts.get(n) or (pa.nulls(length), False) for n, length in enumerate(self._lengths)]
            columns.append(column := _joined(every))
            fields.append(pa.field(name, column.type))
        # one part: rows are taken from it recording by recording, each time from all parts otherwise
        return pa.table(columns, schema=pa.schema(fields)).combine_chunks()


def _carried_column(name: str, values: list[Any], kind: pa.DataType | None) -> tuple[pa.Array, bool]:
    """A column in the type it came with, or as JSON where Parquet has no type for all of its values."""
    if name in GOLD_SPAN_COLUMNS:
        return pa.array([gold_seconds(value) for value in values], pa.float64(), from_pandas=True), False
    try:
        column = pa.array(values, kind)
        pq.write_table(pa.schema([("carried", column.type)]).empty_table(), io.BytesIO())
        return column, False
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return _as_json(values), True


def _as_json(values: list[Any]) -> pa.Array:
    texts = [None if value is None else json.dumps(value, default=str) for value in values]
    return pa.array(texts, pa.string())


def _joined(parts: list[tuple[pa.Array, bool]]) -> pa.ChunkedArray:
    """Parts of a column in the type that all of their values have, or as JSON if one is or there is none."""
    if not any(is_json for _, is_json in parts):
        try:
            tables = [pa.table({"carried": column}) for column, _ in parts]
            column = pa.concat_tables(tables, promote_options="permissive").column("carried")
            return column.cast(pa.string()) if pa.types.is_null(column.type) else column
        except pa.ArrowException:  # parts that differ too much
            pass
    return pa.chunked_array([part if is_json else _as_json(part.to_pylist()) for part, is_json in parts])
