"""Items of a manifest as Arrow tables on disk, made of some rows at a time."""

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
from speechprune.data.disk_rows import DiskFile


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
    """Columns of items in parts on disk, joined at the end: to ``ITEM_COLUMNS`` and the carried columns."""

    def __init__(self) -> None:
        self.disk = DiskFile()
        self._are_json: list[set[str]] = []  # names of those columns in each part
        self._carried: dict[str, None] = {}  # names in order; not all rows have all of them

    def add(self, items: Sequence[Row], types: dict[str, pa.DataType]) -> None:
        """Take some items, which have the same columns; ``types`` are those that the format knows."""
        columns = {f.name: pa.array([item[f.name] for item in items], f.type) for f in ITEM_COLUMNS}
        carried = [name for name in items[0] if name not in columns]
        are_json = set()
        for name in carried:
            values = [item[name] for item in items]
            columns[name], is_json = _carried_column(name, values, types.get(name))
            if is_json:
                are_json.add(name)
        self._carried |= dict.fromkeys(carried)
        self._are_json.append(are_json)
        self.disk.add(pa.table(columns))

    def ids(self, places: Sequence[int]) -> list[str]:
        """Ids of the items in some places."""
        column = pa.concat_tables([part.select(["item_id"]) for part in self.disk.tables]).column(0)
        return [column[place].as_py() for place in places]

    def joined(self) -> pa.Table:
        """All items, one chunk for each part."""
        own = [field.name for field in ITEM_COLUMNS]
        items = pa.concat_tables([part.select(own) for part in self.disk.tables])
        for name in self._carried:
            every = [
                (part.column(name), name in are_json)
                if name in part.column_names
                else (pa.chunked_array([pa.nulls(len(part))]), False)
                for part, are_json in zip(self.disk.tables, self._are_json, strict=True)
            ]
            items = items.append_column(name, _joined(every))
        return items


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


def _joined(parts: list[tuple[pa.ChunkedArray, bool]]) -> pa.ChunkedArray:
    """Parts of a column in the type that all of their values have, or as JSON if one is or there is none."""
    if not any(is_json for _, is_json in parts):
        try:
            tables = [pa.table({"carried": column}) for column, _ in parts]
            column = pa.concat_tables(tables, promote_options="permissive").column("carried")
            return column.cast(pa.string()) if pa.types.is_null(column.type) else column
        except pa.ArrowException:  # parts that differ too much
            pass
    texts = [part if is_json else _as_json(part.to_pylist()) for part, is_json in parts]
    return pa.concat_tables([pa.table({"carried": text}) for text in texts]).column("carried")
