"""Joining of small answers files: every row once, whenever it is stopped and whoever reads meanwhile."""

from collections import Counter

import pyarrow as pa
import pytest
import s3fs

from speechprune import storage
from speechprune.data.row_keys import KeySet
from speechprune.pipeline import compaction
from speechprune.pipeline.answers_files import AnswersFiles
from speechprune.pipeline.run_store import RunStore
from tests.helpers.run_directory import answers, answers_files, config_with, ids, items, overwrite

ITEMS = "abcd"
KEYS = KeySet.of([(item_id,) for item_id in ITEMS])


class Stopped(Exception):
    """A kill."""


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)


def filled(path: str) -> RunStore:
    run = RunStore(path)
    for item_id in ITEMS[:2]:
        run.write_answers("ok", answers(item_id))
    for item_id in ITEMS[2:]:
        run.write_answers("ok", answers(item_id).append_column("team", pa.array([7])))
    return run


def compact(run: RunStore) -> None:
    AnswersFiles(run.path, run.key_columns).compact(lambda: None)


def test_a_kill_at_any_write_leaves_every_row_once(tmp_path, monkeypatch):
    last_change = 2 + len(ITEMS)  # two files are written, as columns differ
    for num_changes in range(last_change + 1):
        run = filled(str(tmp_path / str(num_changes)))
        left = [num_changes]

        def change(function, left=left):
            def stop_or_change(*arguments):
                left[0] -= 1
                if left[0] < 0:
                    raise Stopped
                return function(*arguments)

            return stop_or_change

        with monkeypatch.context() as patch:
            patch.setattr(storage, "write_bytes", change(storage.write_bytes))
            patch.setattr(storage, "remove", change(storage.remove))
            try:
                compact(run)
            except Stopped:
                assert num_changes < last_change
        assert ids(run, "ok") == Counter(ITEMS), num_changes
        assert run.sums("ok", KEYS).num_rows == len(ITEMS)
        run.look()
        assert run.answered == KEYS
        assert run.recover() == KEYS
        assert run.sums("ok", KEYS).num_rows == len(ITEMS)
        compact(run)
        assert ids(run, "ok") == Counter(ITEMS)
        assert len(answers_files(run, "ok")) == 2
    teams = run.read_answers("ok", ["item_id", "team"]).to_pylist()
    assert {row["item_id"]: row["team"] for row in teams} == dict.fromkeys("ab") | {"c": 7, "d": 7}


def test_joined_files_are_joined_again(tmp_path, monkeypatch):
    run = filled(str(tmp_path))
    compact(run)
    run.write_answers("ok", answers("g"))
    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", lambda file: None)  # killed before any is removed
        compact(run)
    assert ids(run, "ok") == Counter(ITEMS + "g")
    assert len(run.recover()) == len(ITEMS) + 1
    assert len(answers_files(run, "ok")) == 2


def test_who_reads_meanwhile_finds_every_row_once(tmp_path, monkeypatch):
    run = filled(str(tmp_path))
    earlier = {folder: storage.files_in(folder, ".parquet") for folder in [f"{tmp_path}/answers/status=ok"]}
    compact(run)
    now = storage.files_in
    monkeypatch.setattr(
        storage, "files_in", lambda folder, suffix: earlier.pop(folder, None) or now(folder, suffix)
    )
    assert ids(run, "ok") == Counter(ITEMS)


def test_a_launch_reads_each_file_of_a_store_with_one_request(bucket, request, monkeypatch):
    path, config = f"s3://{bucket}/{request.node.name}", config_with("model")
    with RunStore(path).launch({}, config):
        run = filled(path)
    requests: Counter[str] = Counter()
    call = s3fs.S3FileSystem._call_s3

    async def counted(self, method, *arguments, **options):
        requests[method] += str(options.get("Key")).endswith(".parquet")
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    with run.launch({}, config), run.answering(items(*ITEMS)):
        run.sums("ok", KEYS)
    assert +requests == {"get_object": len(ITEMS)}


def test_a_damaged_joined_file_replaces_nothing(tmp_path, monkeypatch):
    run = filled(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", lambda file: None)
        compact(run)
    joined = [file for file in answers_files(run, "ok") if compaction.is_joined(file)]
    for file in joined:
        data = storage.read_bytes(file)
        overwrite(file, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert run.recover() == KEYS
    assert ids(run, "ok") == Counter(ITEMS)
    assert len(storage.files_in(f"{tmp_path}/set_aside", ".parquet")) == len(joined)
