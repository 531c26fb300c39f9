"""Windows on disk: whatever a kill leaves, every shard is there once, and only what is current."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprune.data import index_files
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import WindowsDirectory, read_parts, stored_parts
from speechprune.index.compaction import compact
from speechprune.storage import StorageError
from tests.helpers.flaky_store import FlakyFileSystem, Trouble

WIDTH, TOKENS = 4, 3


def shard(
    recording: str, number: int = 0, num_shards: int = 1, version: str = "1", num_windows: int = 2
) -> pa.Table:
    """A shard whose states say whose they are."""
    rows = []
    for i in range(num_windows):
        window = number * num_windows + i
        mark = sum(map(ord, f"{recording}{version}{window}")) % 100
        rows.append(
            {
                "recording": recording,
                "version": version,
                "shard": number,
                "num_shards": num_shards,
                "window": window,
                "num_tokens": TOKENS,
                "states": np.full((TOKENS, WIDTH), mark, "<f2").tobytes(),
                "norms": [1.0] * TOKENS,
            }
        )
    return pa.Table.from_pylist(rows, WINDOWS_SCHEMA)


@pytest.fixture
def directory(tmp_path) -> WindowsDirectory:
    return WindowsDirectory(str(tmp_path / "odd [folder]*" / "model"))


def rows_of(directory: WindowsDirectory) -> list[dict]:
    """All rows, in the order of what they are."""
    tables = [pq.read_table(file) for file in directory.files()]
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted(rows, key=lambda row: (row["recording"], row["version"], row["window"]))


def test_a_recording_is_read_back_in_order_from_whatever_files_hold_it(directory):
    directory.write(pa.concat_tables([shard("a", 1, 3), shard("b")]))
    directory.write(pa.concat_tables([shard("a", 2, 3), shard("a", 0, 3)]))
    parts = stored_parts(directory.contents())
    assert set(parts) == {"a", "b"}
    assert read_parts(parts["a"]).column("window").to_pylist() == list(range(6))
    assert read_parts(parts["b"]).to_pylist() == shard("b").to_pylist()


def test_a_row_group_is_a_shard(directory):
    directory.write(pa.concat_tables([shard("a", 0, 2), shard("a", 1, 2), shard("b")]))
    [file] = directory.files()
    parquet = pq.ParquetFile(file)
    assert [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)] == [2, 2, 2]


def test_a_recording_with_a_missing_shard_cannot_be_asked(directory):
    directory.write(shard("a", 0, 3))
    directory.write(shard("a", 2, 3))
    contents = directory.settle()
    assert contents["a", "1"].missing == [1]
    assert stored_parts(contents) == {}


def test_what_a_retry_wrote_twice_stays_once(directory):
    directory.write(pa.concat_tables([shard("a"), shard("b")]))
    directory.write(shard("b"))
    directory.write(pa.concat_tables([shard("b"), shard("c")]))
    assert len(directory.files()) == 3
    contents = directory.settle()
    assert [row["recording"] for row in rows_of(directory)] == ["a", "a", "b", "b", "c", "c"]
    for uri, parts in stored_parts(contents).items():
        assert read_parts(parts).to_pylist() == shard(uri).to_pylist()


def test_other_versions_and_recordings_that_are_gone_are_dropped(directory):
    directory.write(pa.concat_tables([shard("a"), shard("gone"), shard("b")]))
    directory.write(shard("b", version="2"))
    contents = directory.settle({"a": "1", "b": "2"})
    assert set(contents) == {("a", "1"), ("b", "2")}
    assert {(row["recording"], row["version"]) for row in rows_of(directory)} == {("a", "1"), ("b", "2")}
    assert read_parts(stored_parts(contents)["b"]).to_pylist() == shard("b", version="2").to_pylist()


def test_of_two_ways_to_cut_a_recording_the_complete_one_stays(directory):
    """Its header was out of reach once, so that it was encoded as one part."""
    directory.write(shard("a", 0, 3))
    directory.write(shard("a", 0, 1, num_windows=6))
    directory.write(shard("a", 2, 3))
    assert stored_parts(directory.contents()).keys() == {"a"}
    contents = directory.settle()
    assert contents["a", "1"].num_shards == 1
    assert [row["window"] for row in rows_of(directory)] == list(range(6))


def test_a_reader_opens_only_files_that_the_listing_does_not_name_as_they_are(directory, monkeypatch):
    for table in (pa.concat_tables([shard("a"), shard("gone")]), shard("b", 0, 2), shard("b", 1, 2)):
        directory.write(table)
    directory.write_listing(directory.settle())
    directory.write(shard("new"))
    read, opened = index_files.read_parquet, []
    monkeypatch.setattr(
        index_files, "read_parquet", lambda uri, *_, **__: opened.append(uri) or read(uri, *_, **__)
    )
    contents = directory.contents()
    assert (len(opened), len(contents)) == (1, 4)
    assert contents == directory.settle()
    expected = directory.settle({"a": "1", "b": "1", "new": "1"})  # the file of a is another one now
    opened.clear()
    assert directory.contents() == expected
    assert len(opened) == 2
    listing = Path(directory.path, "listing.parquet")
    listing.write_bytes(listing.read_bytes()[:-9])
    assert directory.contents() == expected


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_set_aside(directory, share):
    directory.write(shard("a"))
    directory.write(shard("b"))
    file = next(f for f in directory.files() if pq.read_table(f).column("recording")[0].as_py() == "a")
    data = Path(file).read_bytes()
    Path(file).write_bytes(data[: int(len(data) * share)])
    assert set(directory.contents()) == {("b", "1")}  # a reader passes it over and leaves it
    assert file in directory.files()
    assert set(directory.settle()) == {("b", "1")}
    assert file not in directory.files()


@pytest.mark.parametrize("trouble", Trouble)
def test_a_lost_connection_sets_no_windows_aside(monkeypatch, trouble, request):
    directory = WindowsDirectory(f"flaky://{request.node.name}")
    directory.write(shard("a"))
    monkeypatch.setattr(FlakyFileSystem, "trouble", trouble)
    for read in (directory.settle, directory.contents):
        with pytest.raises(StorageError, match=r"flaky://.*parquet: "):
            read()
    monkeypatch.setattr(FlakyFileSystem, "trouble", None)
    assert set(directory.settle()) == {("a", "1")}


@pytest.mark.parametrize("column", ["version", "audio_bytes"])
def test_a_flipped_bit_in_what_a_run_relies_on_is_a_file_set_aside(directory, column):
    directory.write(shard("a", num_windows=400))
    [file] = directory.files()
    row_group = pq.ParquetFile(file).metadata.row_group(0)
    chunk = row_group.column(WINDOWS_SCHEMA.get_field_index(column))
    data = bytearray(Path(file).read_bytes())
    data[(chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 1] ^= 1
    Path(file).write_bytes(data)
    assert directory.settle() == {}
    assert directory.files() == []


def test_a_flipped_bit_in_the_states_is_no_answer(directory):
    directory.write(shard("a", num_windows=400))
    [file] = directory.files()
    column = next(
        chunk
        for chunk in map(pq.ParquetFile(file).metadata.row_group(0).column, range(len(WINDOWS_SCHEMA)))
        if chunk.path_in_schema == "states"
    )
    data = bytearray(Path(file).read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    Path(file).write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        read_parts(stored_parts(directory.contents())["a"])


def test_compaction_changes_files_and_no_rows(directory):
    random.seed(0)
    names = [f"recording-{i}" for i in range(12)]
    random.shuffle(names)
    for name in names:
        directory.write(shard(name, 0, 2))
        directory.write(shard(name, 1, 2))
    before = rows_of(directory)
    seen = []
    assert compact(directory, lambda done, of: seen.append((done, of))) == 23
    assert len(directory.files()) == 1
    assert rows_of(directory) == before
    assert seen[-1] == (24, 24)
    parts = stored_parts(directory.settle())
    assert [part.row_group for part in parts[sorted(names)[0]]] == [0, 1]
    assert compact(directory, lambda done, of: None) == 0


def test_a_compaction_that_was_killed_leaves_nothing_twice(directory, monkeypatch):
    for name in "abc":
        directory.write(shard(name))
    before = rows_of(directory)
    monkeypatch.setattr("speechprune.storage.remove", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compact(directory, lambda done, of: None)
    monkeypatch.undo()
    assert len(rows_of(directory)) == 2 * len(before)
    directory.settle()
    assert rows_of(directory) == before


def test_a_copy_has_the_same_windows_under_another_name(directory):
    directory.write(pa.concat_tables([shard("a", 0, 2), shard("a", 1, 2)]))
    directory.copy(directory.contents()["a", "1"], "moved/a", "1")
    parts = stored_parts(directory.contents())
    source, copy = read_parts(parts["a"]), read_parts(parts["moved/a"])
    assert copy.drop_columns("recording").to_pylist() == source.drop_columns("recording").to_pylist()
