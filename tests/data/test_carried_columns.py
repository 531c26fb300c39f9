"""Columns that the job doesn't know come through as they are."""

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprune.data import row_files
from tests.helpers.manifest_files import ONE, read_file, write_csv, write_jsonl


def test_carried_columns_keep_their_types(tmp_path):
    carried = {
        "count": pa.array([1, None], pa.int16()),
        "weight": pa.array([0.1, 0.2], pa.float32()),
        "day": pa.array([datetime.date(2026, 1, 2), None]),
        "moment": pa.array([1, 2], pa.timestamp("ns", tz="Europe/Berlin")),
        "price": pa.array([Decimal("1.20"), None], pa.decimal128(10, 2)),
        "meta": pa.array([{"a": [1, 2], "b": None}, {"a": [], "b": "x"}]),
        "tags": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int32())),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "blob": pa.array([b"\x00\xff", None]),
        "large": pa.array([2**63 + 1, 1], pa.uint64()),
        "flag": pa.array([True, None]),
    }
    own = {"audio": ["a.wav", "b.wav"], "question": ["x", "y"]}
    pq.write_table(pa.table(own | carried), tmp_path / "m.parquet")
    items = read_file(tmp_path / "m.parquet").items
    written = pq.read_table(tmp_path / "m.parquet")
    assert items.select(list(carried)) == written.select(list(carried))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1, 2.5], [1.0, 2.5]),
        ([{"a": 1}, {"b": [2]}], [{"a": 1, "b": None}, {"a": None, "b": [2]}]),
        ([1, "a"], ["1", '"a"']),
        ([True, 1], ["true", "1"]),
        ([{"a": 1}, {"a": "x"}], ['{"a": 1}', '{"a": "x"}']),
        ([{}, {}], ["{}", "{}"]),  # Parquet has no struct without fields
        ([2**70, 1], [str(2**70), "1"]),
        ([None, None], [None, None]),
        ([[], []], [[], []]),
        (["\ud800", "x"], ['"\\ud800"', '"x"']),
    ],
)
@pytest.mark.parametrize("rows_at_a_time", [1, 100])
def test_values_without_a_common_type_are_carried_as_json(
    tmp_path, monkeypatch, values, expected, rows_at_a_time
):
    monkeypatch.setattr(row_files, "ROWS_AT_A_TIME", rows_at_a_time)
    path = tmp_path / "m.jsonl"
    rows = [ONE | {"question": str(i), "extra": value} for i, value in enumerate(values)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    items = read_file(path).items
    pq.write_table(items, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("extra").to_pylist() == expected


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_gold_spans_are_carried_as_seconds_and_null_where_there_is_none(tmp_path, suffix):
    """Text in one row, or in all as in a CSV file, does not change the column's type."""
    spans = [(1, 2.5), (None, None), ("3", "4e0"), ("soon", 9)]
    rows = [
        {"audio": "a.wav", "question": str(i), "choices": None, "evidence_start": start, "evidence_end": end}
        for i, (start, end) in enumerate(spans)
    ]
    path = tmp_path / f"m.{suffix}"
    (write_csv if suffix == "csv" else write_jsonl)(path, rows)
    manifest = read_file(path)
    columns = manifest.items.select(["evidence_start", "evidence_end"])
    assert columns.schema.types == [pa.float64()] * 2
    assert columns.to_pydict() == {"evidence_start": [1, None, 3, None], "evidence_end": [2.5, None, 4, 9]}
    assert list(manifest.malformed) == [manifest.items.column("item_id")[3].as_py()]
