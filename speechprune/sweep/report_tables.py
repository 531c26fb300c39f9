"""Tables of a sweep's report, as text that is ready to be shown and values to sort by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from speechprune.sweep.figures.rows import Row, group
from speechprune.sweep.slices import HARD_ITEMS

EMPTY = "–"
Value = float | str | None


class Cell(NamedTuple):
    """What is shown, and what a column is sorted by."""

    text: str
    value: Value


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
    """Headings and rows.

    Parameters
    ----------
    name
        What it is about; empty for the main table.
    rows
        A cell a column.
    pareto
        One a row: whether it is marked as Pareto-best.
    """

    name: str
    columns: list[Column]
    rows: list[list[Cell]]
    pareto: list[bool]

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
    text: Callable[[Row], str]  # asked only where there is a value


def table_of_points(rows: list[Row]) -> ReportTable:
    """Every point of a benchmark: accuracy, both accounts of cost, and the test against the reference.

    Columns that no point has anything in are left out: accuracy under permuted choices where that was
    not asked, for one.

    Parameters
    ----------
    rows
        Of the slice ``all``; ``hard`` in a row is the same point's row of the hard slice, or None.
    """
    specs = [spec for spec in _SPECS if any(spec.value(row) is not None for row in rows)]
    references = {row["reference"] for row in rows} - {None}
    if len(references) == 1:  # then it is told once, above its columns
        (reference,) = references
        specs = [
            spec._replace(group=f"against {reference}") if spec.group == _TEST else spec
            for spec in specs
            if spec.label != "reference"
        ]
    columns = [Column(spec.group, spec.label, spec.label not in ("point", "reference")) for spec in specs]
    cells = [[_cell(spec, row) for spec in specs] for row in rows]
    return ReportTable("", columns, cells, [bool(row["is_pareto"]) for row in rows])


def table_of_slices(rows: list[Row], kind: str, slices: list[str]) -> ReportTable:
    """Accuracy of every point in every slice of a kind, with the number of items.

    Parameters
    ----------
    rows
        Of one model and benchmark.
    slices
        Names, ``kind: value``.
    """
    by_point = group((row for row in rows if row["slice"] in slices), lambda row: str(row["point"]))
    columns = [Column("", "point", is_number=False)]
    for name in slices:
        num_items = max(row["num_items"] for row in rows if row["slice"] == name)
        columns.append(
            Column(f"{kind}, accuracy in %", f"{name.split(': ', 1)[1]} ({num_items:,} items)", True)
        )
    cells, pareto = [], []
    for point, some in by_point.items():
        of_slice = {row["slice"]: row for row in some}
        accuracies = [of_slice.get(name, {"accuracy": None}) for name in slices]
        cells.append([Cell(point, point), *(Cell(with_interval(row), row["accuracy"]) for row in accuracies)])
        pareto.append(False)
    return ReportTable(kind, columns, cells, pareto)


def percent(share: float) -> str:
    """A share in per cent, without the sign."""
    return f"{100 * share:.1f}"


def significant(number: float) -> str:
    """Three figures that count, without exponents where it can be read without."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def with_interval(row: Row) -> str:
    """Accuracy in per cent with its 95 % interval."""
    if row["accuracy"] is None:
        return EMPTY
    low, high = (percent(row[f"accuracy_{end}"]) for end in ("low", "high"))
    return f"{percent(row['accuracy'])} ({low}–{high})"


def p_value(p: float) -> str:
    """Small ones are as good as any other small one."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _cell(spec: _Spec, row: Row) -> Cell:
    value = spec.value(row)
    return Cell(EMPTY if value is None else spec.text(row), value)


def _of_column(
    heading: str, label: str, column: str, show: Callable[[Any], str], scale: float = 1.0
) -> _Spec:
    def value(row: Row) -> Value:
        return row[column] if scale == 1.0 or row[column] is None else row[column] * scale

    return _Spec(heading, label, value, lambda row: show(value(row)))


def _hard(row: Row) -> Value:
    return None if row[HARD_ITEMS] is None else row[HARD_ITEMS]["accuracy"]


def _seeds(row: Row) -> str:
    low, high = (percent(row[f"accuracy_{end}_seed"]) for end in ("lowest", "highest"))
    return f"{row['num_seeds']}: {low}–{high}"


_ACCURACY = "accuracy, %"
_PAPER = "the paper's account"
_TRUTH = "whole truth, TFLOPs"
_TEST = "against the reference"
_SPECS = (
    _Spec(
        "", "point", lambda row: row["point"], lambda row: ("★ " if row["is_pareto"] else "") + row["point"]
    ),
    _of_column("", "items", "num_items", "{:,}".format),
    _Spec("", "failed", lambda row: row["num_failed"] or None, lambda row: f"{row['num_failed']:,}"),
    _Spec(_ACCURACY, "all (95 % interval)", lambda row: row["accuracy"], with_interval),
    _Spec(_ACCURACY, "hard (95 % interval)", _hard, lambda row: with_interval(row[HARD_ITEMS])),
    _Spec(
        _ACCURACY,
        "seeds: lowest–highest",
        lambda row: row["num_seeds"] if row["num_seeds"] > 1 and row["accuracy"] is not None else None,
        _seeds,
    ),
    _of_column(_ACCURACY, "permuted", "accuracy_permuted", percent),
    _of_column(_ACCURACY, "no audio", "accuracy_without_audio", percent),
    _of_column(_TEST, "reference", "reference", str),
    _of_column(_TEST, "difference, points", "difference", lambda share: f"{share:+.1f}", 100.0),
    _of_column(_TEST, "p", "p_value", p_value),
    _of_column("audio tokens", "kept", "num_kept_tokens", "{:,.0f}".format),
    _of_column("audio tokens", "of gold span, %", "evidence_recall", percent),
    _of_column(_PAPER, "TFLOPs", "tflops_prefill", significant),
    _of_column(_PAPER, "prefill, ms", "seconds_prefill", significant, 1e3),
    _of_column(_PAPER, "total memory, GB", "memory_bytes", "{:.4g}".format, 1e-9),
    _of_column(_PAPER, "activations, GB", "activation_bytes", "{:.2g}".format, 1e-9),
    _of_column(_TRUTH, "encode", "tflops_encode", significant),
    _of_column(_TRUTH, "prune", "tflops_prune", significant),
    _of_column(_TRUTH, "question", "tflops_question", significant),
    _of_column(_TRUTH, "total", "tflops_total", significant),
    _of_column("pruning", "share of seconds, %", "prune_share", percent),
)
