"""Filters by columns of recordings: their conditions, and where the columns come from."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprune.config import ConfigError, load_config
from speechprune.data.recording_columns import read_columns, write_columns
from speechprune.data.sources import InputOptions, read_source
from speechprune.search.config import SearchConfig
from speechprune.search.where import recordings_where

ROWS = [
    {"audio": "a", "project": "apollo", "date": "2025-01-31", "minutes": 30, "speakers": ["Ada", "Bob"]},
    {"audio": "b", "project": "gemini", "date": "2025-06-30T09:00:00", "minutes": "60", "speakers": ["Bob"]},
    {"audio": "c", "project": "apollo", "date": None, "minutes": 90, "speakers": None, "done": True},
    {"audio": "c", "project": "vostok", "date": "2024-12-31", "minutes": 90, "speakers": []},
]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("project: apollo", "ac"),
        ("project: [apollo, gemini]", "abc"),
        ("project: [vostok, apollo, gemini]", "abc"),
        ("project: [apollo, gemini], date: [2025-01-01, 2025-06-30]", "ab"),
        ("date: [2025-02-01, null]", "b"),
        ("date: [null, 2025-01]", "ac"),
        ("date: 2025-06", "b"),
        ("date: [2025-06-30T10, null]", ""),
        ("date: null", "c"),
        ("minutes: [30, 60]", "ab"),
        ("minutes: 60", "b"),
        ("minutes: [90, 30, 45]", "ac"),
        ("speakers: Bob", "ab"),
        ("speakers: [Ada, Eve]", "a"),
        ("done: true", "c"),
        ("project: [1, 2]", ""),
    ],
)
def test_conditions(where, kept, tmp_path):
    config = tmp_path / "search.yaml"
    config.write_text("search: {index: i}\nmodel: {path: m}\noutput: {path: o}\n")
    search = load_config(SearchConfig, str(config), [f"search.where={{{where}}}"]).search
    assert recordings_where(ROWS, search.where) == set(kept)
    json.dumps(search.where)  # run.json has it


def test_an_unknown_column_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no column projekt: did you mean project\?"):
        recordings_where(ROWS, {"projekt": "apollo"})


def test_columns_of_a_manifest_are_kept_beside_the_index(tmp_path):
    folder, manifest = str(tmp_path / "model"), tmp_path / "archive.parquet"
    assert read_columns(folder, None) == []
    rows = [
        {"audio": "x/a.wav", "question": "Who?", "day": pa.scalar(20_000, pa.date32()).as_py(), "key": b"1"},
        {"audio": "x/a.wav", "question": "When?", "day": pa.scalar(20_000, pa.date32()).as_py(), "key": b"2"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    write_columns(folder, read_source(InputOptions(manifest=str(manifest))))
    expected = {"audio": str(tmp_path / "x/a.wav"), "day": "2024-10-04"}
    assert read_columns(folder, None) == [expected]
    other = tmp_path / "other.csv"
    other.write_text("audio,project\nx/b.wav,apollo\n")
    assert read_columns(folder, str(other)) == [{"audio": str(tmp_path / "x/b.wav"), "project": "apollo"}]
    write_columns(folder, None)
    assert read_columns(folder, None) == []
