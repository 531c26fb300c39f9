"""``--dry-run``: its account against what the run then takes, its refusals, and that it writes nothing."""

import json
from pathlib import Path

import pytest

from speechprune.config import load_config
from speechprune.pipeline import sampling
from speechprune.pipeline.batch_qa_dry_run import dry_run_batch_qa
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.dry_run import Estimate, read_requests
from speechprune.pipeline.lease import Lease
from speechprune.pipeline.sampling import Sample, Sampled
from tests.helpers.harness import Job, launch, write_sound
from tests.helpers.job_items import bad_items, good_items

DEMO = "package://configs/demo.yaml"


def plan_of(config: str, *overrides: str) -> Estimate:
    plan = dry_run_batch_qa(load_config(BatchQAConfig, config, [*overrides, "ray.executor=local"]))
    assert plan.refusals == []
    [estimate] = plan.estimates
    return estimate


def files_below(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


def test_the_account_is_that_of_the_run_that_follows(tmp_path, capsys):
    """Two recordings of the demo: items and recordings, hours and FLOPs within 1 %, bytes within 10 %."""
    overrides = [f"output.path={tmp_path}/run", "input.limit=8"]
    plan = plan_of(DEMO, *overrides)
    assert not (tmp_path / "run").exists()
    assert launch(*overrides, executor="local").code == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    totals = summary["totals"]
    assert (plan.num_todo, plan.num_done) == (summary["num_items"], 0)
    assert plan.sample.num_all == summary["num_recordings"]
    assert plan.sample.audio_seconds / 3600 == pytest.approx(summary["audio_hours"], rel=0.01)
    prefill = totals["tflops_total"] - totals["tflops_encode"] - totals["tflops_prune"]
    for stage, tflops in (("encode", totals["tflops_encode"]), ("prune", totals["tflops_prune"])):
        assert plan.tflops[stage] == pytest.approx(tflops, rel=0.01)
    assert plan.tflops["prefill"] == pytest.approx(prefill, rel=0.01)
    written = sum(file.stat().st_size for file in (tmp_path / "run/answers").rglob("*.parquet"))
    assert plan.bytes_written == pytest.approx(written, rel=0.1)
    again = plan_of(DEMO, *overrides)
    assert (again.num_todo, again.num_done) == (0, summary["num_items"])
    assert (again.bytes_read, again.bytes_written, again.tflops) == (0, 0, {})
    assert launch("--dry-run", *overrides, executor="local").code == 0
    assert "0 answers, 8 already there" in capsys.readouterr().out


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech) -> Job:
    """Items of every kind: slices, open-ended questions, what is malformed, missing or no sound."""
    job = Job(tmp_path_factory.mktemp("job"))
    bad = [item for item in bad_items(job.folder, speech) if item["item_id"] != "long-question"]
    job.write([*good_items(job.folder, speech), *bad], tiny_model_folder)
    return job


def test_slices_and_open_questions_are_counted_and_what_will_fail_is_named(job, capsys):
    plan = plan_of(job.config)
    assert plan.num_todo == len(job.items())
    assert plan.sample.num_malformed == 4
    assert plan.sample.num_missing == 2  # one is not there, of one nobody knows the protocol
    assert plan.tflops["decode"] > 0
    before = files_below(job.folder)
    assert launch(job.config, "--dry-run").code == 0
    assert files_below(job.folder) == before
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "4 more in malformed rows" in shown
    assert "2 of 13 looked at are missing or out of reach" in shown
    assert "estimated" not in shown
    assert shown.endswith("nothing was started or written")


def test_a_sample_of_headers_stands_for_all(job, monkeypatch, capsys):
    monkeypatch.setattr(sampling, "NUM_HEADERS", 3)
    sample = sampling.sample_files([str(job.folder / name) for name in ["short.flac"] * 6])
    assert len(sample.recordings) == 3
    assert sample.audio_seconds == pytest.approx(6 * 4.0)
    assert launch(job.config, "--dry-run").code == 0
    assert "3 of them looked at, the rest is extrapolated" in capsys.readouterr().out
    missing = sampling.sample_files([str(job.folder / name) for name in ("short.flac", "no.flac")])
    assert (missing.num_all, missing.num_missing, missing.audio_seconds) == (2, 1, pytest.approx(4.0))


def test_a_recording_without_a_length_has_the_mean_of_the_others(job, monkeypatch):
    """The text has no header: what it is, is found when it is decoded."""
    sample = sampling.sample_files([str(job.folder / name) for name in ("short.flac", "text.wav")])
    assert (sample.num_unknown, sample.audio_seconds) == (1, pytest.approx(8.0))


def test_requests_are_those_to_object_stores():
    """One for the size, one for each MiB begun."""
    ours = Sampled(seconds=60.0, num_bytes=2.5 * 2**20, is_remote=True)
    here = Sampled(seconds=60.0, num_bytes=2.5 * 2**20)
    assert read_requests(Sample(recordings=[ours, here], num_all=20)) == 10 * (1 + 3)


def test_all_that_would_refuse_is_listed_and_the_exit_code_is_2(tmp_path, tiny_model_folder, speech, capsys):
    write_sound(tmp_path / "a.wav", speech(1.0))
    job = Job(tmp_path)
    job.write([{"audio": "a.wav", "question": "Who?", "choices": ["Anna", "Bert"]}], tiny_model_folder)
    assert launch(job.config, "--dry-run").code == 0
    shown = capsys.readouterr().out
    assert "1 answer, 0 already there" in shown
    assert "1 recording, under 0.01 hours" in shown
    assert launch(job.config).code == 0
    with Lease(str(job.run), 1):
        before = files_below(job.folder)
        assert launch(job.config, "--dry-run", "pruning.pruning_rate=0.4").code == 2
        assert files_below(job.folder) == before
    shown = capsys.readouterr().out
    assert "would refuse: another run writes to" in shown
    assert "would refuse: pruning.pruning_rate is 0.4, but the answers in" in shown
    job.write_manifest([{"item_id": "x", "sound": "a.wav"}])
    assert launch(job.config, "--dry-run", f"model.path={tmp_path}/none").code == 2
    shown = capsys.readouterr().out
    assert "has no column audio" in shown
    assert f"model.path {tmp_path}/none does not exist" in shown


def test_embedded_recordings_are_measured_without_being_written(tmp_path, tiny_model_folder, speech):
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_sound(tmp_path / "a.wav", speech(2.0))
    manifest = tmp_path / "embedded.parquet"
    row = {"audio": (tmp_path / "a.wav").read_bytes(), "question": "Who?", "choices": ["Anna", "Bert"]}
    pq.write_table(pa.Table.from_pylist([row]), manifest)
    job = Job(tmp_path)
    job.write([], tiny_model_folder, input={"manifest": str(manifest)})
    plan = plan_of(job.config)
    assert plan.sample.audio_seconds == pytest.approx(2.0)
    assert not job.run.exists()


def test_a_plan_of_a_run_in_a_store_changes_nothing_there(job, s3_bucket, capsys):
    """One recording below a MiB: its size and one read; its answers are written and read."""
    s3_bucket.upload_file(str(job.folder / "short.flac"), "short.flac")
    row = {"audio": "short.flac", "question": "Who?", "choices": ["Anna", "Bert"]}
    s3_bucket.put_object(Key="manifest.jsonl", Body=json.dumps(row).encode())
    place = f"s3://{s3_bucket.name}"
    before = [(one.key, one.last_modified) for one in s3_bucket.objects.all()]
    paths = [f"input.manifest={place}/manifest.jsonl", f"output.path={place}/run"]
    assert launch(job.config, "--dry-run", *paths).code == 0
    assert [(one.key, one.last_modified) for one in s3_bucket.objects.all()] == before
    shown = capsys.readouterr().out
    assert "1 recording, under 0.01 hours" in shown
    assert "S3 requests" in shown
    assert plan_of(job.config, *paths).num_requests == 2 + 2
