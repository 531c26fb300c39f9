"""Launches on a run directory: with equal settings or others, one after the other or at once."""

import json
import os
import socket
from collections import Counter

import pytest

from speechprune import storage
from speechprune.config import ConfigError
from speechprune.data.row_keys import KeySet
from speechprune.pipeline.lease import LeaseError
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import ALWAYS_BEFORE, answer_settings, check_settings
from tests.helpers.run_directory import answers, answers_files, claim, config_with, ids, items, record_of


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


def test_a_run_of_before_a_setting_existed_goes_on_with_what_it_did(run, config, tiny_model_folder):
    claim(run, config)
    run.write_answers("ok", answers("a"))
    record = record_of(run)
    for name in ALWAYS_BEFORE.keys() & record["settings"].keys():  # some are a benchmark's
        del record["settings"][name]
    del record["sha256"]  # earlier versions wrote none
    storage.write_json(f"{run.path}/run.json", record)
    claim(run, config)
    with pytest.raises(ConfigError, match=r"answering.scoring is 'texts', but .* were made with 'letters'"):
        claim(run, config_with(tiny_model_folder, answering={"scoring": "texts"}))


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


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff\x00" + data,
        lambda data: b"[]",
        lambda data: b"{}",
        lambda data: b'{"settings": []}',
        lambda data: data.replace(b'"pruning.pruning_rate": 0.2', b'"pruning.pruning_rate": 0.3'),
        lambda data: data.replace(b'"created_at": "2', b'"created_at": "3'),
    ],
)
def test_a_damaged_record_is_named(tmp_path, config, damage):
    run = RunStore(str(tmp_path))
    claim(run, config)
    run.write_answers("ok", answers("a"))
    file = tmp_path / "run.json"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(
        ConfigError, match=r"^output\.path can't be used: .*run\.json is damaged \("
    ) as refusal:
        claim(run, config)
    assert "\n" not in str(refusal.value)


def test_a_record_of_an_earlier_version_has_no_checksum(tmp_path, config):
    run = RunStore(str(tmp_path))
    claim(run, config)
    run.write_answers("ok", answers("a"))
    record = record_of(run)
    del record["sha256"]
    storage.write_json(storage.join(run.path, "run.json"), record)
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
            assert todo == KeySet.of([("a",), ("b",), ("c",)])
            run.write_answers("ok", answers("a"))
            run.write_answers("failed", answers("b", "c"))
        assert run.answered == KeySet.of([("a",)])
    with run.launch(answer_settings(config, states=None), config), run.answering(items("b", "a")) as todo:
        assert todo == KeySet.of([("b",)])
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
