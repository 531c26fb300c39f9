"""The answers of a sweep as arrays: for each model and benchmark, points by items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprune.data.columns import COLUMNS
from speechprune.inference.point import Point

# what is judged, computed from, and aggregated; a column that the answers lack counts as null everywhere
NUMBER_COLUMNS = (
    "correct",
    "correct_permuted",
    "correct_without_audio",
    "weights_bytes",
    "kv_cache_bytes",
    *(column.name for column in COLUMNS if column.sweep is not None),
)
KEY_NAMES = ("model", "benchmark", "point", "status", "item_id")


@dataclass(frozen=True)
class AnswerSheet:
    """One model's answers to one benchmark.

    Rows of the arrays are points in the grid's order, columns are items by ``item_id``, whatever order the
    answers came in: sums over them are the same to the last bit.
    """

    model: str
    benchmark: str
    points: Sequence[str]
    is_answered: np.ndarray  # shape ``(num_points, num_items)``
    # ``NUMBER_COLUMNS`` by name, float64, shape ``(num_points, num_items)``; NaN where null or not answered
    numbers: dict[str, np.ndarray]
    gold: np.ndarray  # a number for each different gold answer, shape ``(num_items,)``
    of_items: pa.Table  # ``item_id`` and further columns that are the same for all points

    @property
    def num_items(self) -> int:
        """Items that any point has a row of."""
        return len(self.of_items)

    def of(self, is_chosen: np.ndarray) -> AnswerSheet:
        """Only some of the items: a boolean each."""
        return replace(
            self,
            is_answered=self.is_answered[:, is_chosen],
            numbers={name: values[:, is_chosen] for name, values in self.numbers.items()},
            gold=self.gold[is_chosen],
            of_items=self.of_items.filter(pa.array(is_chosen)),
        )


def answer_sheets(
    answers: pa.Table, points: Sequence[Point], item_columns: Sequence[str]
) -> Iterator[AnswerSheet]:
    """One sheet for every model and benchmark, sorted by their names.

    - ``answers``: answer rows with ``benchmark``, ``point`` and ``status``; an item has at most one row with
      status ``ok`` for a point.
    - ``points``: rows of other points are left out.
    - ``item_columns``: further columns of ``of_items``.
    """
    rows = _select(answers, [*KEY_NAMES, "answer", *NUMBER_COLUMNS, *item_columns])
    keys = {name: rows.column(name).cast(pa.string()) for name in KEY_NAMES}
    names = [point.name for point in points]
    models, benchmarks = (_sorted(keys[name]) for name in ("model", "benchmark"))
    model_codes, benchmark_codes = _codes(keys["model"], models), _codes(keys["benchmark"], benchmarks)
    is_of_grid = _codes(keys["point"], names) >= 0
    for m, model in enumerate(models):
        for b, benchmark in enumerate(benchmarks):
            own = np.flatnonzero((model_codes == m) & (benchmark_codes == b) & is_of_grid)
            if len(own):
                yield _sheet(rows.take(own), model, benchmark, names, item_columns)


def _sheet(
    rows: pa.Table, model: str, benchmark: str, points: Sequence[str], item_columns: Sequence[str]
) -> AnswerSheet:
    items = _sorted(rows.column("item_id"))
    item_codes = _codes(rows.column("item_id"), items)
    is_ok = pc.equal(rows.column("status").cast(pa.string()), "ok").to_numpy()
    places = (_codes(rows.column("point"), points)[is_ok], item_codes[is_ok])

    def spread(values: np.ndarray, elsewhere: float) -> np.ndarray:
        array = np.full((len(points), len(items)), elsewhere, values.dtype)
        array[places] = values[is_ok]
        return array

    def numbers(name: str) -> np.ndarray:
        return spread(rows.column(name).cast(pa.float64()).to_numpy(), np.nan)

    def of_items(name: str) -> pa.ChunkedArray:
        return _any_valid(rows.column(name), item_codes, len(items))

    gold = of_items("answer").cast(pa.string()).combine_chunks().dictionary_encode().indices
    return AnswerSheet(
        model=model,
        benchmark=benchmark,
        points=points,
        is_answered=spread(is_ok, False),
        numbers={name: numbers(name) for name in NUMBER_COLUMNS},
        gold=gold.fill_null(-1).to_numpy(zero_copy_only=False),
        of_items=pa.table({"item_id": items} | {name: of_items(name) for name in item_columns}),
    )


def _select(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Columns by name, null where the table has none."""
    absent = pa.nulls(len(table))
    columns = {name: table.column(name) if name in table.column_names else absent for name in names}
    return pa.table(columns).combine_chunks()  # rows are taken from one chunk faster than from many files


def _sorted(column: pa.ChunkedArray) -> list[str]:
    values: list[str] = sorted(pc.unique(column.cast(pa.string())).drop_null().to_pylist())
    return values


def _codes(column: pa.ChunkedArray, values: Sequence[str]) -> np.ndarray:
    """Position of every row's value in ``values``, -1 where it is not among them."""
    codes = pc.index_in(column.cast(pa.string()), value_set=pa.array(values, pa.string()))
    return codes.fill_null(-1).to_numpy()


def _any_valid(column: pa.ChunkedArray, item_codes: np.ndarray, num_items: int) -> pa.ChunkedArray:
    """The value of each item: that of any row with one, as all such rows of an item agree."""
    rows = np.flatnonzero(column.is_valid().to_numpy())
    found = np.full(num_items, -1)
    found[item_codes[rows]] = rows
    return column.take(pa.array(found, mask=found < 0))
