"""``--dry-run`` of a sweep: answers at every point, less those that are there; a benchmark to build first."""

import pyarrow.parquet as pq
import pytest

from speechprune.config import load_config
from speechprune.sweep.config import SweepConfig
from speechprune.sweep.dry_run import dry_run_sweep
from tests.helpers.harness import launch
from tests.helpers.sweeps import NUM_POINTS, NUM_RECORDINGS, SWEEP, make_job


def test_the_account_is_that_of_the_sweep_that_follows(tmp_path, tiny_model_folder, speech, monkeypatch):
    monkeypatch.setattr("speechprune.sweep.report.draw_figures", lambda points: [])
    job = make_job(tmp_path, tiny_model_folder, speech)
    narrow = ["grid.points=[{method: truncate}, {method: speechprune, phase1_budget: 40}]"]
    config = load_config(SweepConfig, job.config)
    [whole] = dry_run_sweep(config).estimates
    assert (whole.num_todo, whole.num_done) == (NUM_POINTS * 2 * NUM_RECORDINGS, 0)
    [plan] = dry_run_sweep(load_config(SweepConfig, job.config, narrow)).estimates
    assert not job.run.exists()
    assert launch(job.config, *narrow, job=SWEEP).code == 0
    rows = [row for file in job.files("ok") for row in pq.read_table(file, partitioning=None).to_pylist()]
    assert plan.num_todo == len(rows)
    prefill = sum(row["tflops_total"] - row["tflops_encode"] - row["tflops_prune"] for row in rows)
    encode = {row["audio"]: 0.0 for row in rows}
    for row in rows:
        encode[row["audio"]] += row["tflops_encode"] / 2  # each of the two points counts it whole
    assert plan.tflops["prefill"] == pytest.approx(prefill, rel=0.01)
    assert plan.tflops["encode"] == pytest.approx(sum(encode.values()), rel=0.01)
    assert plan.tflops["prune"] == pytest.approx(sum(row["tflops_prune"] for row in rows), rel=0.01)
    assert prefill < plan.tflops["checks"] < 1.5 * prefill  # permuted choices, and once without audio

    [rest] = dry_run_sweep(config).estimates
    per_point = 2 * NUM_RECORDINGS
    assert (rest.num_todo, rest.num_done) == ((NUM_POINTS - 2) * per_point, 2 * per_point)


def test_a_benchmark_that_is_built_first_is_planned_as_such(tmp_path, tiny_model_folder, speech):
    job = make_job(tmp_path, tiny_model_folder, speech)
    settings = f"items.num_recordings=5 ray.executor=local output.path={tmp_path}/built"
    source = f"package://configs/benchmark.yaml {settings}"
    config = load_config(SweepConfig, job.config, [f"input.manifest={{new: {source}}}"])
    plan = dry_run_sweep(config)
    assert [(one.item, one.num_todo) for one in plan.estimates] == [("recording", 5)]
    assert plan.refusals == []
    assert 5 * 85 < plan.estimates[0].sample.audio_seconds < 5 * 95
    assert not (tmp_path / "built").exists()
