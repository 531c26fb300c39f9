"""The docs page of all columns: ``python -m speechprune.reports.columns_page > docs/columns.md``."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from speechprune.data.columns import COLUMNS
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.sweep.schema import POINTS_SCHEMA

SECTIONS = {
    "item": "The item, as the manifest has it",
    "answer": "The answer, or why there is none",
    "accuracy": "Accuracy",
    "tokens": "Length and tokens",
    "paper": "The paper's account: FLOPs and memory as its Table I counts them",
    "actual": "Actual FLOPs",
    "measured": "Measured: differs from run to run",
    "provenance": "How the row was made",
}
ROWS = {"ok": "ok", "failed": "failed", "both": "ok, failed"}
IN_SUMMARY = {"sum": "`totals.{}`", "mean": "`{}_mean`", "max": "`{}`", None: ""}

INTRODUCTION = """\
# Columns

<!-- written by `python -m speechprune.reports.columns_page > docs/columns.md` -->

Every Parquet file that a run writes states comment and unit of each column in its schema; this page lists
them. What is shared by several items (a recording's encoding, a batch) is split evenly among them, so that
sums over rows are true. Adding a column to the answers is one entry in `speechprune/data/columns.py`.

## Answers: `answers/status=ok/*.parquet`, `answers/status=failed/*.parquet`

One row per item, in a sweep one per item and point. All other columns of the manifest are carried through.
"Rows" says which of the two folders have a value; "summary" is the key in `summary.json`; "points" is how a
sweep aggregates the column over a point's items."""


def columns_page() -> str:
    """The page as Markdown."""
    parts = [INTRODUCTION]
    for section, title in SECTIONS.items():
        own = [column for column in COLUMNS if column.section == section]
        lines = [
            (
                f"`{column.name}`",
                f"`{column.type}`",
                column.unit,
                ROWS[column.status],
                column.comment,
                IN_SUMMARY[column.summary].format(column.name),
                column.sweep or "",
            )
            for column in own
        ]
        headings = ("column", "type", "unit", "rows", "meaning", "summary", "points")
        parts += [f"### {title}", _table(headings, lines)]
    for title, rows, schema in (
        ("Points of a sweep: `points.parquet`", "model, benchmark, slice and point", POINTS_SCHEMA),
        ("Index: `windows/*.parquet`", "window of a recording", WINDOWS_SCHEMA),
    ):
        parts += [f"## {title}", f"One row per {rows}.", _schema_table(schema)]
    return "\n\n".join(parts) + "\n"


def _schema_table(schema: pa.Schema) -> str:
    lines = [
        (
            f"`{field.name}`",
            f"`{field.type}`",
            *(field.metadata[key].decode() for key in (b"unit", b"comment")),
        )
        for field in schema
    ]
    return _table(("column", "type", "unit", "meaning"), lines)


def _table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    rows = [headings, ["---" for _ in headings], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(columns_page(), end="")
