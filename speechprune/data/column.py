"""What one entry of ``data/columns.py`` states about a column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa

from speechprune.data.formats import significant

if TYPE_CHECKING:
    from speechprune.data.answer_rows import AnswerRecord

TEXT, FLOAT, INT = pa.string(), pa.float64(), pa.int64()
Section = Literal["item", "answer", "accuracy", "tokens", "paper", "actual", "measured", "provenance"]


def arrow_field(name: str, kind: pa.DataType, comment: str, unit: str = "") -> pa.Field:
    """An Arrow field whose metadata state what the column holds, and in which unit."""
    return pa.field(name, kind, metadata={"comment": comment, "unit": unit})


class ReportCell(NamedTuple):
    """How a sweep's report shows the mean of a column."""

    # heading, label: the group of columns that it stands under, and its own name there
    heading: str
    label: str
    # text, scale: makes the text of the mean, multiplied by ``scale``
    text: Callable[[Any], str] = significant
    scale: float = 1.0
    place: int = 0  # columns under one heading stand by ascending place, then as in ``COLUMNS``


@dataclass(frozen=True)
class Column:
    """One column of the answers, and everything that is derived from it."""

    # name, comment, type, unit: as they stand in the file's schema
    name: str
    comment: str
    # makes the value of a row; None for columns that are taken from the manifest
    value: Callable[[AnswerRecord], Any] | None = None
    sweep_comment: str = ""
    report: ReportCell | None = None  # how a sweep's report shows it; needs ``sweep``
    type: pa.DataType = TEXT
    unit: str = ""
    section: Section = "answer"  # what the column is about: groups the docs page and the points table
    # rows that have a value: those with ``status=ok``, with ``status=failed``, or both
    status: Literal["ok", "failed", "both"] = "ok"
    # how ``summary.json`` aggregates it: ``totals.NAME``, ``NAME_mean``, or the largest as ``NAME``
    summary: Literal["sum", "mean", "max"] | None = None
    # sweep, sweep_comment: how ``points.parquet`` aggregates it over the items of a point, and the comment
    # that it has there
    sweep: Literal["mean", "max"] | None = None

    @property
    def field(self) -> pa.Field:
        """Its field in the schema of answers."""
        return arrow_field(self.name, self.type, self.comment, self.unit)

    @property
    def point_field(self) -> pa.Field:
        """Its field in the schema of points: a mean is a float64, the largest keeps its type."""
        kind = FLOAT if self.sweep == "mean" else self.type
        comment = self.sweep_comment or f"{self.sweep} of: {self.comment}"
        return arrow_field(self.name, kind, comment, self.unit)
