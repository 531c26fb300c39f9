"""Tables of a sweep's report, as text that is ready to be shown and values to sort by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple
from urllib.parse import urlencode

from speechprune.data import Row
from speechprune.data.column import ReportCell
from speechprune.data.columns import ACTUAL, COLUMNS, PAPER, TOKENS
from speechprune.data.formats import counted, p_value, percent
from speechprune.sweep.figures.rows import group
from speechprune.sweep.recommendation import is_best
from speechprune.sweep.slices import HARD_ITEMS

EMPTY = "–"
Value = float | str | None


class Cell(NamedTuple):
    """The text shown, the value that the column is sorted by, and where a click leads, if anywhere."""

    text: str
    value: Value
    address: str = ""


class Column(NamedTuple):
    """A column and the group of columns that it stands under; ungrouped ones have an empty group."""

    group: str
    label: str
    is_number: bool

    @property
    def full_label(self) -> str:
        """With the group, for tables that have one line of headings."""
        return f"{self.group}: {self.label}" if self.group else self.label


@dataclass(frozen=True)
class ReportTable:
    """Headings and rows."""

    name: str  # what it is about; empty for the main table
    columns: list[Column]
    rows: list[list[Cell]]  # one cell per column
    pareto: list[bool]  # one per row: whether it is marked as Pareto-best

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Groups from left to right, each with the number of its columns."""
        return [(name, len(list(some))) for name, some in groupby(column.group for column in self.columns)]

    @property
    def begins(self) -> set[int]:
        """Columns at which a group begins."""
        return {i for i in range(1, len(self.columns)) if self.columns[i].group != self.columns[i - 1].group}


class _Spec(NamedTuple):
    group: str
    label: str
    value: Callable[[Row], Value]
    text: Callable[[Row], str]  # called only where there is a value
    place: int = 0  # under its group, see ReportCell
    address: Callable[[Row], str] = lambda _: ""


def table_of_points(rows: list[Row]) -> ReportTable:
    """Every point of a benchmark: accuracy, both accounts of cost, and the test against the reference.

    Columns that no point has anything in are left out: accuracy under permuted choices where that was
    not asked, for one.

    ``rows``: of the slice ``all``; ``hard`` in a row is the same point's row of the hard slice, or None.
    """
    specs = [spec for spec in _SPECS if any(spec.value(row) is not None for row in rows)]
    references = {row["reference"] for row in rows} - {None}
    if len(references) == 1:  # then it is named once, above its columns
        (reference,) = references
        specs = [
            spec._replace(group=f"against {reference}") if spec.group == _TEST else spec
            for spec in specs
            if spec.label != "reference"
        ]
    columns = [Column(spec.group, spec.label, spec.label not in ("point", "reference")) for spec in specs]
    cells = [[_cell(spec, row) for spec in specs] for row in rows]
    return ReportTable("", columns, cells, [is_best(row) for row in rows])


def table_of_slices(rows: list[Row], kind: str, slices: list[str]) -> ReportTable:
    """Accuracy of every point in every slice of a kind (``kind: value``), with the number of items."""
    by_point = group((row for row in rows if row["slice"] in slices), lambda row: str(row["point"]))
    columns = [Column("", "point", is_number=False)]
    for name in slices:
        num_items = max(row["num_items"] for row in rows if row["slice"] == name)
        columns.append(
            Column(f"{kind}, accuracy in %", f"{name.split(': ', 1)[1]} ({counted(num_items, 'item')})", True)
        )
    cells, pareto = [], []
    for point, some in by_point.items():
        of_slice = {row["slice"]: row for row in some}
        accuracies = [of_slice.get(name, {"accuracy": None}) for name in slices]
        cells.append([Cell(point, point), *(Cell(with_interval(row), row["accuracy"]) for row in accuracies)])
        pareto.append(False)
    return ReportTable(kind, columns, cells, pareto)


def with_interval(row: Row) -> str:
    """Accuracy in per cent with its 95 % interval."""
    if row["accuracy"] is None:
        return EMPTY
    low, high = (percent(row[f"accuracy_{end}"]) for end in ("low", "high"))
    return f"{percent(row['accuracy'])} ({low}–{high})"


def _cell(spec: _Spec, row: Row) -> Cell:
    value = spec.value(row)
    return Cell(EMPTY, value) if value is None else Cell(spec.text(row), value, spec.address(row))


def _of_column(name: str, cell: ReportCell) -> _Spec:
    """How a column of the points is shown."""

    def value(row: Row) -> Value:
        return row[name] if cell.scale == 1.0 or row[name] is None else row[name] * cell.scale

    return _Spec(cell.heading, cell.label, value, lambda row: cell.text(value(row)), cell.place)


def _num_wrong(row: Row) -> Value:
    """Of all items; of several seeds there is no one number."""
    if row["accuracy"] is None or row["num_seeds"] > 1:
        return None
    return round((1 - row["accuracy"]) * row["num_items"])


def _wrong_answers(row: Row) -> str:
    """Address of a point's wrong answers on the page that ``speechprune report`` writes beside the report."""
    filters = {"outcome": "wrong", "method": row["point"], "search": row["benchmark"]}
    return "report/report.html#" + urlencode(filters)


def _hard(row: Row) -> Value:
    return None if row[HARD_ITEMS] is None else row[HARD_ITEMS]["accuracy"]


def _seeds(row: Row) -> str:
    low, high = (percent(row[f"accuracy_{end}_seed"]) for end in ("lowest", "highest"))
    return f"{row['num_seeds']}: {low}–{high}"


_ACCURACY = "accuracy, %"
_TEST = "against the reference"
# computed from several columns
_COMPUTED = (
    _Spec("", "point", lambda row: row["point"], lambda row: ("★ " if is_best(row) else "") + row["point"]),
    _of_column("num_items", ReportCell("", "items", "{:,}".format)),
    _Spec("", "failed", lambda row: row["num_failed"] or None, lambda row: f"{row['num_failed']:,}"),
    _Spec("", "wrong", _num_wrong, lambda row: f"{_num_wrong(row):,}", address=_wrong_answers),
    _Spec(_ACCURACY, "all (95 % interval)", lambda row: row["accuracy"], with_interval),
    _Spec(_ACCURACY, "hard (95 % interval)", _hard, lambda row: with_interval(row[HARD_ITEMS])),
    _Spec(
        _ACCURACY,
        "seeds: lowest–highest",
        lambda row: row["num_seeds"] if row["num_seeds"] > 1 and row["accuracy"] is not None else None,
        _seeds,
    ),
    _of_column("accuracy_permuted", ReportCell(_ACCURACY, "permuted", percent)),
    _of_column("accuracy_without_audio", ReportCell(_ACCURACY, "no audio", percent)),
    _of_column("reference", ReportCell(_TEST, "reference", str)),
    _of_column("difference", ReportCell(_TEST, "difference, points", "{:+.1f}".format, 100.0)),
    _of_column("p_value", ReportCell(_TEST, "p", p_value)),
    _of_column("memory_bytes", ReportCell(PAPER, "total memory, GB", "{:.4g}".format, 1e-9, place=1)),
    _of_column("tflops_question", ReportCell(ACTUAL, "question", place=1)),
    _of_column("prune_share", ReportCell("pruning", "share of seconds, %", percent)),
)
_HEADINGS = ("", _ACCURACY, _TEST, TOKENS, PAPER, ACTUAL, "pruning")  # from left to right, others behind
_SPECS = sorted(
    [*(_of_column(column.name, column.report) for column in COLUMNS if column.report), *_COMPUTED],
    key=lambda spec: (_HEADINGS.index(spec.group) if spec.group in _HEADINGS else len(_HEADINGS), spec.place),
)
