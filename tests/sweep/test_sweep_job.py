"""The sweep from its grid to points.parquet: rows as the main job's, stops, wider grids."""

import html
import random
import re
import signal
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprune import storage
from speechprune.pipeline.run_store import RunStore
from speechprune.reports.run_report import write_report
from speechprune.sweep.schema import MEASURED_COLUMNS
from tests.helpers.answered_run import data_in
from tests.helpers.harness import Job, Launch, launch
from tests.helpers.sweeps import BLOCKS, NUM_POINTS, NUM_RECORDINGS, SWEEP, Rows, items, make_job, sweep_rows

NOT_COMPARED = {
    "seconds_decode_audio",
    "seconds_encode",
    "seconds_prune",
    "seconds_prefill",
    "finished_at",
} | {
    "seconds_generate",
    "peak_memory_bytes",
    "benchmark",
    "point",
    "model",
}


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech) -> Job:
    return make_job(tmp_path_factory.mktemp("sweep"), tiny_model_folder, speech)


@pytest.fixture(scope="module")
def first_launch(job) -> Launch:
    return launch(job.config, job=SWEEP)


@pytest.fixture(autouse=True)
def without_figures(monkeypatch) -> None:
    """Only the first launch draws: it was made before this."""
    monkeypatch.setattr("speechprune.sweep.report.draw_figures", lambda points: [])


def at_point(rows: Rows, point: str) -> dict[str, dict]:
    return {key[3]: row for key, row in rows.items() if key[2] == point}


def points_of(job: Job) -> pa.Table:
    """All that is the same twice."""
    table = pq.read_table(job.run / "points.parquet")
    return table.drop_columns([field.name for field in MEASURED_COLUMNS])


def test_every_item_is_answered_at_every_point(job, first_launch):
    assert first_launch.code == 0, first_launch.lines
    rows = sweep_rows(job)
    assert len(rows) == NUM_POINTS * 2 * NUM_RECORDINGS
    assert {key[2] for key in rows} == {
        "truncate",
        "speechprune(phase1_budget=40, pruning_rate=0.2)",
        "speechprune(phase1_budget=40, pruning_rate=0.6)",
        "first_phase(phase1_budget=40, pruning_rate=0.2)",
        "first_phase(phase1_budget=40, pruning_rate=0.6)",
        "random(phase1_budget=40, pruning_rate=0.6)",
        "random(phase1_budget=40, pruning_rate=0.6, seed=1)",
    }


@pytest.mark.parametrize(
    ("point", "pruning"),
    [
        ("truncate", {"method": "truncate"}),
        ("speechprune(phase1_budget=40, pruning_rate=0.6)", {"pruning_rate": 0.6, "phase1_budget": 40}),
        (
            "random(phase1_budget=40, pruning_rate=0.6, seed=1)",
            {"method": "random", "pruning_rate": 0.6, "phase1_budget": 40, "seed": 1},
        ),
    ],
)
def test_rows_are_those_of_the_main_job(
    job, first_launch, tmp_path, tiny_model_folder, speech, point, pruning
):
    main = Job(tmp_path)
    main.write(
        items(tmp_path, speech),
        tiny_model_folder,
        pruning=pruning,
        answering={"max_new_tokens": 64, "permuted_check": True, "no_audio_baseline": True},
        ray={"recordings_per_block": 1},
    )
    assert launch(main.config).code == 0
    ours, theirs = at_point(sweep_rows(job), point), main.rows("ok")
    assert set(ours) == set(theirs)
    for item_id, row in theirs.items():
        for column in set(row) - NOT_COMPARED - {"audio"}:
            assert ours[item_id][column] == row[column], column


def test_a_recording_is_encoded_once_for_all_points(job, first_launch):
    seconds: dict[str, set[float]] = {}
    for row in sweep_rows(job).values():  # measured to the nanosecond: another encoding took another time
        seconds.setdefault(row["audio"], set()).add(row["seconds_encode"])
    assert len(seconds) == NUM_RECORDINGS
    assert all(len(measured) == 1 for measured in seconds.values())


def test_points_hold_what_the_rows_say(job, first_launch):
    rows = sweep_rows(job)
    points = {(row["slice"], row["point"]): row for row in points_of(job).to_pylist()}
    name = "first_phase(phase1_budget=40, pruning_rate=0.6)"
    right = [row["correct"] for row in at_point(rows, name).values()]
    assert points["all", name]["accuracy"] == sum(right) / len(right)
    meetings = [row["correct"] for row in at_point(rows, name).values() if row["scenario"] == "meeting"]
    assert points["scenario: meeting", name]["accuracy"] == sum(meetings) / len(meetings)
    assert points["all", name]["reference"] == "speechprune(phase1_budget=40, pruning_rate=0.6)"
    assert points["all", "random(phase1_budget=40, pruning_rate=0.6)"]["num_seeds"] == 2
    wrong = {name for name, row in at_point(rows, "truncate").items() if not row["correct"]}
    assert points["hard", name]["num_items"] == len(wrong)


def test_report_is_written_beside_the_answers(job, first_launch):
    for name in ("report.md", "report.html", "summary.json", "run.json"):
        assert (job.run / name).stat().st_size > 0
    assert list((job.run / "figures").glob("*.svg"))
    assert "speechprune(phase1_budget=40, pruning_rate=0.2)" in (job.run / "report.html").read_text()
    assert job.summary()["num_ok"] == NUM_POINTS * 2 * NUM_RECORDINGS


def test_a_number_of_wrong_answers_leads_to_them(job, first_launch, tmp_path):
    run = RunStore(str(job.run))
    page = data_in(
        Path(write_report(run, str(tmp_path), clips_mb=0, embed=False, num_items=9999)).read_text()
    )
    links = re.findall(
        r'href="report/report.html#([^"]+)">([\d,]+)</a>', (job.run / "report.html").read_text()
    )
    assert links
    for address, number in links:
        ((outcome,), (method,), (text,)) = parse_qs(html.unescape(address)).values()
        found = [item for item in page["items"] if (item["outcome"], item["method"]) == (outcome, method)]
        assert len([item for item in found if text in item["benchmark"]]) == int(number)


def test_a_launch_with_nothing_to_do_changes_nothing(job, first_launch):
    before = {file: file.read_bytes() for file in (job.run / "answers").rglob("*.parquet")}
    points = (job.run / "points.parquet").read_bytes()
    assert launch(job.config, job=SWEEP).code == 0
    assert {file: file.read_bytes() for file in (job.run / "answers").rglob("*.parquet")} == before
    assert (job.run / "points.parquet").read_bytes() == points


def test_a_sweep_killed_at_random_finishes_with_the_same_points_on_ray_too(
    tmp_path, tiny_model_folder, speech, job_process, ray_address
):
    killed = make_job(tmp_path, tiny_model_folder, speech)
    whole = replace(killed, run_name="undisturbed")
    assert launch(whole.config, f"output.path={whole.run}", job=SWEEP).code == 0
    num_files = random.Random(1).randrange(1, NUM_RECORDINGS)
    process = job_process(killed.config, job=SWEEP)
    process.wait_until(lambda: len(killed.files("ok")) >= num_files)
    process.send(signal.SIGKILL)
    process.wait()
    finished_at = {key: row["finished_at"] for key, row in sweep_rows(killed).items()}
    assert finished_at
    assert launch(killed.config, job=SWEEP, executor="ray").code == 0
    rows = sweep_rows(killed)
    assert {key: rows[key]["finished_at"] for key in finished_at} == finished_at
    assert points_of(killed).equals(points_of(whole))


def test_a_wider_sweep_computes_only_what_is_new(
    tmp_path, tiny_model_folder, grouped_query_model_folder, speech
):
    narrow = make_job(tmp_path, tiny_model_folder, speech, grid={"points": BLOCKS[:1]}, report={"slices": []})
    assert launch(narrow.config, job=SWEEP).code == 0
    before = sweep_rows(narrow)
    again = narrow.folder / "again.jsonl"
    again.write_text((narrow.folder / "manifest.jsonl").read_text())
    wide = make_job(
        tmp_path,
        tiny_model_folder,
        speech,
        input={"manifest": {"a": str(narrow.folder / "manifest.jsonl"), "b": str(again)}},
        grid={
            "points": [*BLOCKS[:1], {"method": "first_phase", "phase1_budget": 40}],
            "models": [tiny_model_folder, grouped_query_model_folder],
        },
        report={"reference": {"method": "truncate"}},
    )
    result = launch(wide.config, job=SWEEP)
    assert result.code == 0, result.lines
    after = sweep_rows(wide)
    assert {key: after[key] for key in before} == before
    assert len(after) == 2 * 2 * 2 * 2 * NUM_RECORDINGS  # points, models, benchmarks, questions
    assert any(
        f"{2 * 2 * 2 * NUM_RECORDINGS} answers, {len(before)} of them" in line for line in result.lines
    )
    done = wide.summary()["this_launch"]
    assert sum(of_model["num_items"] for of_model in done["by_model"].values()) == len(after) - len(before)
    assert set(done["by_model"]) == {tiny_model_folder, grouped_query_model_folder}
    order = [(row["model"], row["benchmark"]) for row in points_of(wide).to_pylist()]
    assert list(dict.fromkeys(order)) == [
        (model, benchmark)
        for model in (tiny_model_folder, grouped_query_model_folder)
        for benchmark in ("a", "b")
    ]


def test_answers_of_other_settings_are_refused(job, first_launch):
    result = launch(job.config, "answering.permute_choices=2", job=SWEEP)
    assert result.code == 2
    assert "answering.permute_choices is 2" in result.lines[-1]


def test_a_benchmark_of_the_same_name_is_not_taken_for_the_other(job, first_launch, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text((job.folder / "manifest.jsonl").read_text())
    result = launch(job.config, f"input.manifest={{a: '{other}'}}", job=SWEEP)
    assert result.code == 2
    assert result.lines[-1].startswith(f"input.manifest a is '{other}'")


def test_a_recording_that_cannot_be_read_fails_at_every_point(tmp_path, tiny_model_folder, speech):
    job = make_job(tmp_path, tiny_model_folder, speech)
    job.write_manifest(
        [item | {"audio": "gone.wav"} if i == 0 else item for i, item in enumerate(job.items())]
    )
    result = launch(job.config, job=SWEEP)
    assert result.code == 1
    assert {key[3] for key in sweep_rows(job, "failed")} == {job.items()[0]["item_id"]}
    assert len(sweep_rows(job, "failed")) == NUM_POINTS
    assert all(row["num_failed"] == 1 for row in points_of(job).to_pylist() if row["slice"] == "all")


def test_a_sweep_on_object_storage_reports_there(job, first_launch, bucket):
    run = f"s3://{bucket}/sweep"
    assert launch(job.config, f"output.path={run}", job=SWEEP).code == 0
    with pa.BufferReader(storage.read_bytes(f"{run}/points.parquet")) as file:
        remote = pq.read_table(file).drop_columns([field.name for field in MEASURED_COLUMNS])
    assert remote.equals(points_of(job))
    assert b"<html" in storage.read_bytes(f"{run}/report.html")
