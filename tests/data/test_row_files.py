"""Manifests as other tools write them: folders, partitions, arrays, tabs, Arrow's newer types."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprune.data.manifest import ManifestError
from speechprune.data.row_keys import KeySet
from speechprune.pipeline.tasks import make_tasks, unpack_items
from tests.helpers.manifest_files import ITEMS, ONE, read_file, write_csv, write_jsonl, write_parquet


def write(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def as_spark_writes(folder: Path, rows: list[dict]) -> Path:
    """Parts and marks, and a part of a launch that was ended."""
    write(folder / "_SUCCESS")
    write(folder / "._SUCCESS.crc")
    write(folder / "_temporary/0/part-9.parquet", b"half")
    write_parquet(folder / "part-00000-c0.snappy.parquet", rows[:1])
    write_parquet(folder / "part-00001-c0.snappy.parquet", rows[1:])
    return folder


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_under_the_name_of_a_file_takes_its_place(tmp_path, end):
    as_file = read_file(write_parquet(tmp_path / "file.parquet", ITEMS)).items
    as_spark_writes(tmp_path / "manifest.parquet", ITEMS)
    assert read_file(f"{tmp_path}/manifest.parquet{end}").items == as_file  # relative audio too


def test_a_folder_of_json_lines_under_the_name_of_a_file(tmp_path):
    write(tmp_path / "m.json/_SUCCESS")
    write_jsonl(write(tmp_path / "m.json/part-0.json"), ITEMS[:1])
    write_jsonl(write(tmp_path / "m.json/part-1.json"), ITEMS[1:])
    whole = read_file(write_jsonl(tmp_path / "m.jsonl", ITEMS)).items
    assert read_file(tmp_path / "m.json").items == whole


def test_a_folder_without_parts_is_refused(tmp_path):
    write(tmp_path / "manifest.parquet/_SUCCESS")
    with pytest.raises(ManifestError, match=r"manifest\.parquet is a folder without a file \.parquet, "):
        read_file(tmp_path / "manifest.parquet")


@pytest.mark.parametrize("name", ["days", "days.parquet"])
def test_partitions_are_columns(tmp_path, name):
    days = {"day=2026-11-27/team=a%2Fb": 0, "day=__HIVE_DEFAULT_PARTITION__/team=on": 1, "other": 2}
    for folder, index in days.items():
        write_parquet(write(tmp_path / name / folder / "part-0.parquet"), [ONE | {"question": f"{index}?"}])
    items = read_file(tmp_path / name).items
    found = {row["question"]: (row["day"], row["team"]) for row in items.to_pylist()}
    assert found == {"0?": ("2026-11-27", "a/b"), "1?": (None, "on")}


def test_a_folder_in_a_store(tmp_path, s3_bucket):
    as_spark_writes(tmp_path / "local.parquet", ITEMS)
    for file in (tmp_path / "local.parquet").rglob("*.*"):
        s3_bucket.upload_file(str(file), f"in/m.parquet/{file.relative_to(tmp_path / 'local.parquet')}")
    uri = f"s3://{s3_bucket.name}/in/m.parquet"
    items = read_file(uri).items
    assert items["item_id"].to_pylist() == ["a", "b", "c"]
    assert items["audio"][0].as_py() == f"s3://{s3_bucket.name}/in/sound/one.wav"
    assert read_file(uri + "/").items == items
    with pytest.raises(ManifestError, match="does not exist"):
        read_file(f"s3://{s3_bucket.name}/in/other.parquet")


def test_an_array_of_objects_and_tabs_are_read_as_lines_are(tmp_path):
    whole = read_file(write_jsonl(tmp_path / "m.jsonl", ITEMS)).items
    write(tmp_path / "m.json", json.dumps(ITEMS, indent=1).encode())
    assert read_file(tmp_path / "m.json").items == whole
    assert read_file(write_csv(tmp_path / "m.tsv", ITEMS)).items == whole


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path):
    table = pa.table([["a.wav"], ["q"], ["r"]], names=["audio", "question", "question"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"m\.parquet: two columns are named 'question'"):
        read_file(tmp_path / "m.parquet")


VIEWS = {
    "text": (pa.string_view(), ["x", None]),
    "blob": (pa.binary_view(), [b"x", b"y"]),
    "list": (pa.list_(pa.string_view()), [["x"], []]),
    "large_list": (pa.large_list(pa.binary_view()), [[b"x"], None]),
    "pair": (pa.list_(pa.string_view(), 2), [["x", "y"], ["z", None]]),
    "struct": (pa.struct([("a", pa.string_view()), ("b", pa.int16())]), [{"a": "x", "b": 1}, None]),
    "map": (pa.map_(pa.string_view(), pa.binary_view()), [[("k", b"v")], []]),
    "list_view": (pa.list_view(pa.string_view()), [["x"], ["y", "z"]]),
    "deep": (pa.list_(pa.struct([("a", pa.list_(pa.string_view()))])), [[{"a": ["x"]}], []]),
}


@pytest.mark.parametrize(("kind", "values"), VIEWS.values(), ids=list(VIEWS))
def test_views_are_carried_as_the_values_that_they_show(tmp_path, kind, values):
    table = pa.table({"audio": ["a.wav", "b.wav"], "question": ["x", "y"], "extra": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "m.parquet")
    manifest = read_file(tmp_path / "m.parquet")
    tasks = make_tasks(manifest, KeySet()).table()["items"].to_pylist()
    carried = [row["extra"] for task in tasks for row in unpack_items(task).to_pylist()]
    assert carried == values
    pq.write_table(manifest.items, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["extra"].to_pylist() == values


def test_views_in_one_part_and_plain_text_in_another_are_one_column(tmp_path):
    for number, kind in enumerate((pa.string_view(), pa.string(), pa.large_string())):
        table = pa.table({"audio": ["a.wav"], "question": [f"{number}"], "who": pa.array(["Anna"], kind)})
        pq.write_table(table, write(tmp_path / f"m/{number}.parquet"))
    assert read_file(tmp_path / "m").items["who"].to_pylist() == ["Anna"] * 3
