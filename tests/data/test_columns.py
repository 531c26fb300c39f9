"""A column is one entry of one list, from which everything else derives."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from speechprune.data.columns import ANSWER_COLUMNS, COLUMNS, ITEM_COLUMNS
from speechprune.reports.columns_page import SECTIONS, columns_page

ROOT = Path(__file__).parents[2]


def test_a_column_is_one_entry():
    """Added to the list alone, it is in schema, row, summary, counters, points, report and docs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.added_column"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,
    )
    assert done.stdout == "found everywhere\n", done.stderr


def test_the_docs_page_is_what_the_command_writes():
    assert (ROOT / "docs" / "columns.md").read_text() == columns_page(), (
        "run: python -m speechprune.reports.columns_page > docs/columns.md"
    )


def test_every_column_is_on_the_docs_page():
    assert {column.section for column in COLUMNS} == set(SECTIONS)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_entries_are_complete(column):
    assert column.comment
    assert (column.value is None) == (column.section == "item")  # the manifest's, or made
    assert column.sweep is not None or (column.report is None and not column.sweep_comment)
    if column.sweep is not None or column.summary is not None:
        assert column.status in ("ok", "both")
        assert pa.types.is_integer(column.type) or pa.types.is_floating(column.type)


def test_names_are_used_once():
    names = [field.name for field in (*ITEM_COLUMNS, *ANSWER_COLUMNS)]
    assert len(set(names)) == len(names) == len(COLUMNS)
