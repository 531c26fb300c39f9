"""The run directory alone, on local disk and on an S3 API: what survives whatever happened to it."""

import datetime
import json
import os
import socket
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

from speechprune import storage
from speechprune.config import ConfigError, parse_config
from speechprune.data.answer_rows import answers_table
from speechprune.data.columns import ITEM_COLUMNS
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.lease import LeaseError
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings, check_settings
from speechprune.storage import StorageError
from tests.helpers.flaky_store import FlakyFileSystem, Trouble

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture(params=["local", "s3"])
def run(request, tmp_path) -> RunStore:
    if request.param == "local":
        return RunStore(str(tmp_path / "run [of] *"))
    return RunStore(f"s3://{request.getfixturevalue('bucket')}/{request.node.name}")


@pytest.fixture
def config(tiny_model_folder) -> BatchQAConfig:
    return config_with(tiny_model_folder)


def config_with(model: str, **sections) -> BatchQAConfig:
    least = {"input": {"manifest": "m.jsonl"}, "model": {"path": model}, "output": {"path": "unused"}}
    return parse_config(BatchQAConfig, least | sections)


def answers(*item_ids: str, prediction: str = "A") -> pa.Table:
    fields = {"item_id": list(item_ids), "audio": "a.wav", "question": "Who?"}
    items = pa.table(
        {
            field.name: pa.array(
                fields["item_id"] if field.name == "item_id" else [fields.get(field.name)] * len(item_ids),
                field.type,
            )
            for field in ITEM_COLUMNS
        }
    )
    return answers_table([{"prediction": prediction, "finished_at": NOW}] * len(item_ids), items)


def items(*item_ids: str) -> pa.Table:
    return answers(*item_ids).select([field.name for field in ITEM_COLUMNS])


def ids(run: RunStore, status: str) -> Counter[str]:
    return Counter(run.read_answers(status, ["item_id"]).column("item_id").to_pylist())


def answers_files(run: RunStore, status: str) -> list[str]:
    return storage.files_in(storage.join(run.path, "answers", f"status={status}"), ".parquet")


def overwrite(file: str, data: bytes) -> None:
    fs, path = url_to_fs(file)
    fs.pipe_file(path, data)


# recovering files


def test_an_empty_place_has_no_answers(run):
    assert run.recover() == set()
    assert run.read_answers("ok", ["item_id", "correct"]).num_rows == 0


def test_what_was_written_is_answered(run):
    run.write_answers("ok", answers("a", "b"))
    run.write_answers("ok", answers("c"))
    run.write_answers("failed", answers("d"))
    assert run.recover() == {("a",), ("b",), ("c",)}
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
    assert run.recover() == {("a",), ("b",), ("c",)}
    assert ids(run, "ok") == Counter("abc")
    assert run.recover() == {("a",), ("b",), ("c",)}


def test_a_failure_that_is_answered_by_now_is_dropped(run):
    run.write_answers("failed", answers("a", "b"))
    run.write_answers("ok", answers("a"))
    assert run.recover() == {("a",)}
    assert ids(run, "failed") == Counter("b")


def test_failures_are_dropped_when_they_are_tried_again(run):
    run.write_answers("failed", answers("a", "b"))
    run.write_answers("failed", answers("c"))
    run.drop_failed([("a",), ("c",), ("x",)])
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
    assert run.recover() == set()
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
    assert run.recover() == {("a",)}


# checking settings


def claim(run, config):
    with run.launch(answer_settings(config, states=None), config):
        pass


def record_of(run: RunStore) -> dict:
    return json.loads(storage.read_text(storage.join(run.path, "run.json")))


def test_the_same_settings_claim_again(run, config):
    claim(run, config)
    run.write_answers("ok", answers("a"))
    before = record_of(run)
    claim(run, config)
    assert record_of(run) == before
    assert before["config"]["pruning"]["pruning_rate"] == 0.2
    assert set(before["versions"]) >= {"speechprune", "ray", "torch", "transformers"}


def test_other_settings_are_refused_once_there_are_answers(run, tiny_model_folder, config):
    other = config_with(tiny_model_folder, pruning={"pruning_rate": 0.4})
    claim(run, config)
    claim(run, other)  # nothing is answered yet: a first try may be corrected
    run.write_answers("ok", answers("a"))
    with pytest.raises(ConfigError, match=r"pruning.pruning_rate is 0.2, but the answers in .* with 0.4"):
        claim(run, config)
    claim(run, other)


@pytest.mark.parametrize(
    "sections",
    [
        {"input": {"manifest": "other.jsonl", "limit": 3}},
        {"output": {"path": "unused", "max_failed_fraction": 1.0}},
        {"ray": {"recordings_per_block": 9, "max_attempts": 1}},
        {"pruning": {"seed": 5}},  # of the random methods, which this is not
    ],
)
def test_settings_that_change_no_answer_are_free(tmp_path, tiny_model_folder, config, sections):
    run = RunStore(str(tmp_path))
    claim(run, config)
    run.write_answers("ok", answers("a"))
    claim(run, config_with(tiny_model_folder, **sections))


def test_a_copy_of_the_model_elsewhere_is_the_same_model(tmp_path, tiny_model_folder, config):
    run = RunStore(str(tmp_path / "run"))
    claim(run, config)
    run.write_answers("ok", answers("a"))
    os.symlink(tiny_model_folder, tmp_path / "moved")
    claim(run, config_with(str(tmp_path / "moved")))


def test_another_model_is_refused(tmp_path, grouped_query_model_folder, config):
    run = RunStore(str(tmp_path))
    claim(run, config)
    run.write_answers("ok", answers("a"))
    with pytest.raises(ConfigError, match=r"^model\.path \(fingerprint of its content\) is "):
        claim(run, config_with(grouped_query_model_folder))


def test_answers_of_unknown_origin_are_not_added_to(run, config):
    run.write_answers("ok", answers("a"))
    with pytest.raises(ConfigError, match=r"holds answers but no run\.json"):
        claim(run, config)


def test_failures_hold_a_directory_to_their_settings(run, tiny_model_folder, config):
    claim(run, config)
    run.write_answers("failed", answers("a"))
    with pytest.raises(ConfigError, match=r"pruning.pruning_rate is 0.4, but the answers in"):
        claim(run, config_with(tiny_model_folder, pruning={"pruning_rate": 0.4}))


def test_settings_are_checked_before_any_file_is_touched(run, tiny_model_folder, config):
    claim(run, config)
    run.write_answers("ok", answers("a", "b"))
    run.write_answers("ok", answers("b", "c"))
    before = {file: storage.read_bytes(file) for file in answers_files(run, "ok")}
    with pytest.raises(ConfigError):
        claim(run, config_with(tiny_model_folder, pruning={"pruning_rate": 0.4}))
    assert {file: storage.read_bytes(file) for file in answers_files(run, "ok")} == before


@pytest.mark.parametrize("pruning_rate", [0.2, 0.4])
def test_of_two_launches_at_once_the_second_is_refused(run, tiny_model_folder, config, pruning_rate):
    """With equal settings and with others, answers there or not."""
    other = config_with(tiny_model_folder, pruning={"pruning_rate": pruning_rate})
    sentence = rf"another run writes to .*: process {os.getpid()} on {socket.gethostname()} since 20"
    with run.launch(answer_settings(config, states=None), config):
        before = record_of(run)
        for _ in range(2):
            with pytest.raises(LeaseError, match=sentence) as refusal:
                claim(RunStore(run.path), other)
            assert "\n" not in str(refusal.value)
            assert record_of(run) == before
            run.write_answers("ok", answers("a"))
    assert record_of(run) == before


def test_of_two_that_find_no_record_only_one_writes_it(run, config, tiny_model_folder, monkeypatch):
    """Even where both believe to hold the directory, as on a store without "create if there is none"."""
    other = config_with(tiny_model_folder, pruning={"pruning_rate": 0.4})
    create = storage.create_bytes

    def create_late(uri: str, data: bytes) -> None:
        if uri.endswith("run.json"):
            monkeypatch.setattr(storage, "create_bytes", create)
            check_settings(run.path, answer_settings(other, None), other, holds=None, place="output.path")
        create(uri, data)

    monkeypatch.setattr(storage, "create_bytes", create_late)
    with pytest.raises(ConfigError, match=r"pruning.pruning_rate is 0.2, but .* made with 0.4"):
        claim(run, config)
    assert record_of(run)["settings"]["pruning.pruning_rate"] == 0.4


def test_a_launch_that_lost_its_lease_changes_nothing_more(run, config):
    refusal = "another run writes there now"
    with run.launch(answer_settings(config, states=None), config):
        answering = run.answering(items("b"))
        answering.__enter__()
        run.write_answers("ok", answers("b"))
        run.write_answers("ok", answers("b", "a"))
        storage.write_bytes(storage.join(run.path, "leases", "lease-000000002.json"), b"{}")
        with pytest.raises(LeaseError, match=refusal):
            answering.__exit__(None, None, None)
        with pytest.raises(LeaseError, match=refusal):
            run.finish({})
    assert ids(run, "ok") == Counter("abb")
    assert storage.files_in(run.path, "summary.json") == []


def test_what_is_answered_is_not_asked_again_and_failures_are_dropped(run, config):
    with run.launch(answer_settings(config, states=None), config):
        with run.answering(items("a", "b", "c")) as todo:
            assert todo == [("a",), ("b",), ("c",)]
            run.write_answers("ok", answers("a"))
            run.write_answers("failed", answers("b", "c"))
        assert run.answered == {("a",)}
    with run.launch(answer_settings(config, states=None), config), run.answering(items("b", "a")) as todo:
        assert todo == [("b",)]
        assert ids(run, "failed") == Counter("c")


def test_a_place_that_can_not_be_written_to_is_named(tmp_path, config):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output\.path .*file/run"):
        claim(RunStore(str(tmp_path / "file/run")), config)


def test_a_bucket_that_does_not_exist_is_named(bucket, config):
    with pytest.raises(ConfigError, match=r"output\.path .*s3://no-such-bucket/run.*does not exist"):
        claim(RunStore("s3://no-such-bucket/run"), config)


def test_summaries_are_plain_json(run, config):
    with run.launch({}, config):
        run.finish({"num_items": 3, "accuracy": None})
    assert json.loads(storage.read_text(storage.join(run.path, "summary.json"))) == {
        "num_items": 3,
        "accuracy": None,
    }
