"""The files of a run directory, on local disk and on an S3 API: what survives whatever happened to them."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

from speechprune import storage
from speechprune.data.row_keys import KeySet
from speechprune.pipeline.run_store import RunStore
from speechprune.storage import StorageError
from tests.helpers.flaky_store import FlakyFileSystem, Trouble
from tests.helpers.run_directory import answers, answers_files, ids, overwrite


def test_an_empty_place_has_no_answers(run):
    assert run.recover() == KeySet()
    assert run.read_answers("ok", ["item_id", "correct"]).num_rows == 0


def test_what_was_written_is_answered(run):
    run.write_answers("ok", answers("a", "b"))
    run.write_answers("ok", answers("c"))
    run.write_answers("failed", answers("d"))
    assert run.recover() == KeySet.of([("a",), ("b",), ("c",)])
    assert ids(run, "ok") == Counter("abc")
    assert ids(run, "failed") == Counter("d")


def test_a_column_that_a_file_lacks_is_null_in_its_rows(run):
    """Answers of before there was the column, or of a manifest without it, still count."""
    run.write_answers("ok", answers("a").drop_columns("evidence_recall"))
    run.write_answers("ok", answers("b").append_column("team", pa.array([7])))
    rows = run.read_answers("ok", ["item_id", "evidence_recall", "team"]).to_pylist()
    assert sorted(rows, key=lambda row: row["item_id"]) == [
        {"item_id": "a", "evidence_recall": None, "team": None},
        {"item_id": "b", "evidence_recall": None, "team": 7},
    ]
    assert run.read_answers("failed", ["item_id", "team"]).num_rows == 0


def test_a_retried_block_writes_over_its_own_file(run):
    run.write_answers("ok", answers("a", "b"))
    run.write_answers("ok", answers("b", "a", prediction="B"))
    assert ids(run, "ok") == Counter("ab")
    assert run.read_answers("ok", ["prediction"]).column("prediction").to_pylist() == ["B", "B"]


def test_doubled_rows_are_healed(run):
    """Blocks of another cut, as of a worker that outlived its driver, overlap in part or whole."""
    run.write_answers("ok", answers("a", "b"))
    run.write_answers("ok", answers("b", "c"))
    run.write_answers("ok", answers("c"))
    assert run.recover() == KeySet.of([("a",), ("b",), ("c",)])
    assert ids(run, "ok") == Counter("abc")
    assert run.recover() == KeySet.of([("a",), ("b",), ("c",)])


def test_a_failure_that_is_answered_by_now_is_dropped(run):
    run.write_answers("failed", answers("a", "b"))
    run.write_answers("ok", answers("a"))
    assert run.recover() == KeySet.of([("a",)])
    assert ids(run, "failed") == Counter("b")


def test_failures_are_dropped_when_they_are_tried_again(run):
    run.write_answers("failed", answers("a", "b"))
    run.write_answers("failed", answers("c"))
    run.drop_failed(KeySet.of([("a",), ("c",), ("x",)]))
    assert ids(run, "failed") == Counter("b")


@pytest.mark.parametrize("damage", ["cut", "emptied"])
def test_an_unreadable_file_is_set_aside_and_its_items_are_open_again(run, damage):
    run.write_answers("ok", answers("a"))
    run.write_answers("ok", answers("b"))
    file = answers_files(run, "ok")[0]
    fs, path = url_to_fs(file)
    data = fs.cat_file(path)
    overwrite(file, data[: len(data) // 2] if damage == "cut" else b"")
    assert len(run.recover()) == 1
    (aside,) = storage.files_in(storage.join(run.path, "set_aside"), ".parquet")
    assert aside.rsplit("/", 1)[-1] == file.rsplit("/", 1)[-1]
    assert len(answers_files(run, "ok")) == 1


@pytest.mark.parametrize("column", ["item_id", "prediction"])
def test_a_flipped_bit_is_a_file_set_aside_and_not_another_value(run, column):
    run.write_answers("ok", answers("a"))
    [file] = answers_files(run, "ok")
    data = bytearray(storage.read_bytes(file))
    chunks = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(0)
    chunk = next(
        chunk
        for chunk in map(chunks.column, range(chunks.num_columns))
        if chunk.path_in_schema.split(".")[0] == column
    )
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    data[first + chunk.total_compressed_size - 1] ^= 1
    overwrite(file, bytes(data))
    assert run.read_answers("ok", [column]).num_rows == 0
    assert run.recover() == KeySet()
    assert answers_files(run, "ok") == []
    assert len(storage.files_in(storage.join(run.path, "set_aside"), ".parquet")) == 1


@pytest.mark.parametrize("trouble", Trouble)
def test_a_lost_connection_sets_no_answers_aside(monkeypatch, trouble, request):
    run = RunStore(f"flaky://{request.node.name}")
    run.write_answers("ok", answers("a"))
    monkeypatch.setattr(FlakyFileSystem, "trouble", trouble)
    with pytest.raises(StorageError, match=r"flaky://.*parquet: ") as failure:
        run.recover()
    assert "\n" not in str(failure.value)
    with pytest.raises(StorageError):
        run.read_answers("ok", ["item_id"])
    monkeypatch.setattr(FlakyFileSystem, "trouble", None)
    assert run.recover() == KeySet.of([("a",)])


@pytest.mark.parametrize("path", ["{bucket}//run", "{bucket}/run/", "{bucket}/run"])
def test_a_run_in_a_store_is_one_place_however_its_address_is_written(s3_bucket, path):
    """``s3://$BUCKET/$PREFIX/run`` with an empty PREFIX has two slashes."""
    run = RunStore(f"s3://{path.format(bucket=s3_bucket.name)}")
    run.write_answers("ok", answers("a"))
    for other in (run, RunStore(f"s3://{s3_bucket.name}/run")):
        assert other.recover() == KeySet.of([("a",)])
    assert [item.key.split("/")[0] for item in s3_bucket.objects.all()] == ["run"]
