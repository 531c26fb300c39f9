"""The same command again on a run directory where something changed: it mends, or it refuses."""

import shutil
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest

from speechprune.pipeline import batch_qa
from tests.helpers.harness import Job, Launch, launch, write_sound
from tests.helpers.job_items import bad_items, good_items


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech) -> Job:
    """A finished run with answers and failures."""
    folder = tmp_path_factory.mktemp("relaunch") / "[1] job"  # in brackets: nothing in a path is a pattern
    folder.mkdir()
    job = Job(folder)
    job.write(
        [*good_items(folder, speech), *bad_items(folder, speech)],
        tiny_model_folder,
        pruning={"pruning_rate": 0.5, "phase1_budget": 100},
        ray={"recordings_per_block": 2},  # several files of answers
    )
    assert launch(job.config).code == 1
    return job


@pytest.fixture(scope="module")
def answered(job) -> dict[str, dict]:
    return job.rows("ok")


@pytest.fixture(scope="module")
def failed(job) -> dict[str, dict]:
    return job.rows("failed")


# after a recording was mended, an answers file half-written, another doubled by a worker that outlived
# its driver, and the manifest widened


@dataclass(frozen=True)
class Relaunch:
    """What the second launch found, and how it went."""

    before: dict[str, dict]
    lost: set[str]
    result: Launch


@pytest.fixture(scope="module")
def relaunch(job, answered, failed, speech) -> Relaunch:
    write_sound(job.folder / "missing.wav", speech(3.0, 40.0))
    half_written, doubled, *_ = job.files("ok")
    lost = set(pq.read_table(half_written, partitioning=None).column("item_id").to_pylist())
    half_written.write_bytes(half_written.read_bytes()[:-100])
    shutil.copy(doubled, doubled.with_name("0.parquet"))
    added = {"item_id": "added", "audio": "short.flac", "question": "Is it new?", "choices": ["yes", "no"]}
    job.write_manifest([*job.items(), added])
    return Relaunch(answered, lost, launch(job.config, "output.max_failed_fraction=1"))


def test_what_is_answered_is_skipped(job, relaunch):
    kept = set(relaunch.before) - relaunch.lost
    after = job.rows("ok")
    assert kept
    assert {name: after[name] for name in kept} == {name: relaunch.before[name] for name in kept}
    assert f"{len(kept)} of them already answered" in "\n".join(relaunch.result.lines)


def test_a_half_written_file_is_set_aside_and_its_items_answered_again(job, relaunch):
    assert len(list((job.run / "set_aside").iterdir())) == 1
    after = job.rows("ok")
    assert relaunch.lost
    for name in relaunch.lost:
        assert after[name]["finished_at"] > relaunch.before[name]["finished_at"]
        assert after[name]["prediction"] == relaunch.before[name]["prediction"]
        assert after[name]["num_kept_tokens"] == relaunch.before[name]["num_kept_tokens"]


def test_failed_items_are_tried_again_and_added_ones_answered(job, relaunch, failed):
    assert set(job.rows("ok")) == {*relaunch.before, "missing", "added"}
    after = job.rows("failed")
    assert set(after) == set(failed) - {"missing"}
    for name, row in after.items():
        assert row["finished_at"] > failed[name]["finished_at"]
        assert row["error_type"] == failed[name]["error_type"]


def test_few_enough_failures_exit_with_0(job, relaunch):
    assert relaunch.result.code == 0
    summary = job.summary()
    assert summary["num_items"] == summary["num_ok"] + summary["num_failed"] == len(job.items())


def test_a_complete_run_starts_nothing(job, relaunch, monkeypatch):
    monkeypatch.setattr(batch_qa, "make_executor", lambda *_: pytest.fail("an executor was made"))
    before = job.rows("ok")
    result = launch(job.config, "input.limit=6", "ray.recordings_per_block=1", "model.prefill_batch_tokens=9")
    assert result.code == 0
    assert job.rows("ok") == before
    assert (job.summary()["num_items"], job.summary()["num_ok"]) == (6, 6)


@pytest.mark.parametrize(
    ("override", "name", "before"),
    [
        ("pruning.pruning_rate=0.4", "pruning.pruning_rate is 0.4", "0.5"),
        ("pruning.method=random", "pruning.method is 'random'", "'speechprune'"),
        ("model.dtype=bfloat16", "model.dtype is 'bfloat16'", "'float32'"),
        ("answering.permute_choices=2", "answering.permute_choices is 2", "1"),
        ("model.random_weights=true", "model.path (fingerprint of its content) is", "made with"),
    ],
)
def test_settings_that_would_change_answers_are_refused_by_name(
    job, relaunch, monkeypatch, override, name, before
):
    monkeypatch.setattr(batch_qa, "make_executor", lambda *_: pytest.fail("an executor was made"))
    result = launch(job.config, override)
    assert result.code == 2
    (line,) = result.lines
    assert name in line
    assert f"were made with {before}" in line or before in line
    assert job.summary()["num_items"] == 6  # as the launch before it left it


def test_an_edited_question_under_an_answered_items_id_is_refused(job, relaunch, monkeypatch):
    monkeypatch.setattr(batch_qa, "make_executor", lambda *_: pytest.fail("an executor was made"))
    items = job.items()
    job.write_manifest([items[0] | {"question": "Which month?"}, *items[1:]])
    result = launch(job.config)
    job.write_manifest(items)
    assert result.code == 2
    assert result.lines[-1].startswith("item_id 'short-1' is answered in")
