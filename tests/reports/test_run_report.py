"""The page of a run: every row is in it, within the budget, and no text breaks out of it."""

from pathlib import Path

import pyarrow as pa
import pytest

from speechprune import storage
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS
from speechprune.pipeline.run_store import RunStore
from speechprune.reports.page_data import outcome_of
from speechprune.reports.run_report import main, write_report
from tests.helpers.answered_run import (
    DAYS,
    EVIDENCE,
    RECORDING,
    TIMELINE,
    answered_run,
    data_in,
    write_answer,
)
from tests.helpers.harness import Job, launch
from tests.helpers.job_items import bad_items, good_items

SCHEMA = [*ITEM_COLUMNS, *ANSWER_COLUMNS]
OPTIONS = {"clips_mb": 50.0, "embed": False, "num_items": 100}
HOSTILE = (
    "</script><script>alert('1')</script><!-- <img src=x onerror=alert(2)> \u202e \u2028 ]]> {{ 7*7 }} \"'"
)


def page_of(run: RunStore, folder: Path, **options) -> dict:
    return data_in(Path(write_report(run, str(folder), **(OPTIONS | options))).read_text())


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech) -> Job:
    """A real run: items of every kind that can be answered, and that can't."""
    job = Job(tmp_path_factory.mktemp("report"))
    items = [*good_items(job.folder, speech), *bad_items(job.folder, speech)]
    answering = {"max_new_tokens": 3}
    job.write(items, tiny_model_folder, answering=answering, output={"max_failed_fraction": 1})
    assert launch(job.config).code == 0
    return job


def test_every_row_of_a_run_is_on_the_page_with_its_audio(job, tmp_path):
    rows = job.rows("ok") | job.rows("failed")
    page = page_of(RunStore(f"{job.folder}/run"), tmp_path)
    assert {item["id"] for item in page["items"]} == set(rows)
    for item in page["items"]:
        row, recording = rows[item["id"]], page["recordings"][item["recording"]]
        assert item["outcome"] == outcome_of(row)
        assert (item["error"], item["text"]) == (row["error"], row["prediction_text"])
        spans = [tuple(span.values()) for span in row["evidence"] or []]
        assert [tuple(span[:3]) for span in item["evidence"]] == spans
        assert len(item["timeline"]) == len(row["timeline"] or [])
        for start, end, _ in spans:
            (clip,) = (c for c in recording["clips"] if c["start"] <= start and end <= c["end"] + 1e-6)
            assert (tmp_path / clip["source"]).is_file()
    outcomes = [item["outcome"] for item in page["items"]]
    assert outcomes == sorted(outcomes, key=lambda one: {"wrong": 0, "failed": 1}.get(one, 2))
    assert {"wrong", "failed", "unjudged"} <= set(outcomes)


def test_clips_stay_within_their_budget_and_wrong_answers_come_first(tmp_path):
    run = answered_run(str(tmp_path / "run"))
    other = RECORDING.with_name("recording-0001.opus")
    write_answer(run, "wrong-1", audio=str(other), choices=DAYS, answer="A", correct=False, evidence=EVIDENCE)
    page = page_of(run, tmp_path / "small", clips_mb=0.08)
    clips = list((tmp_path / "small" / "clips").iterdir())
    assert 0 < sum(clip.stat().st_size for clip in clips) <= 80_000
    assert [bool(recording["clips"]) for recording in page["recordings"]] == [True, False]
    assert page["recordings"][1]["note"] == "no clips: they would exceed --clips-mb 0.08"
    assert page["items"][0]["id"] == "wrong-1"
    assert not (tmp_path / "none").exists()
    page_of(run, tmp_path / "none", clips_mb=0)
    assert [file.name for file in (tmp_path / "none").iterdir()] == ["report.html"]


def test_a_recording_that_is_gone_is_named_and_the_page_is_made(tmp_path):
    run = answered_run(str(tmp_path / "run"))
    write_answer(run, "gone", audio=f"{tmp_path}/gone.wav", evidence=EVIDENCE, timeline=TIMELINE)
    page = page_of(run, tmp_path)
    (item,) = (item for item in page["items"] if item["id"] == "gone")
    recording = page["recordings"][item["recording"]]
    assert recording["note"].startswith(f"no clips: {tmp_path}/gone.wav does not exist")
    assert (recording["end"], len(item["timeline"])) == (90.0, 90)


def test_no_text_breaks_out_of_the_page_and_no_secret_is_in_it(tmp_path):
    run = RunStore(str(tmp_path / "run"))
    names = ("question", "prediction", "prediction_text", "answer", "method", "model")
    texts: dict[str, object] = dict.fromkeys(names, HOSTILE)
    address = "https://user:password@127.0.0.1:1/a.wav?X-Amz-Signature=abcdef0123456789"
    write_answer(
        run, HOSTILE, **texts, choices=[HOSTILE, "b"], choice_probabilities=[0.5, 0.5], audio=address
    )
    write_answer(run, "failed", "failed", error=HOSTILE, error_type=HOSTILE, audio=HOSTILE)
    html = Path(write_report(run, str(tmp_path), **OPTIONS)).read_text()
    assert html.count("<script") == html.count("</script>") == 2
    assert "alert(2)>" not in html
    assert "password" not in html
    assert "abcdef" not in html
    items = {item["id"]: item for item in data_in(html)["items"]}
    assert items[HOSTILE]["question"] == items["failed"]["error"] == HOSTILE


def test_embedded_clips_leave_one_file(tmp_path):
    page = page_of(answered_run(str(tmp_path / "run")), tmp_path / "page", embed=True)
    assert [file.name for file in (tmp_path / "page").iterdir()] == ["report.html"]
    sources = [clip["source"] for recording in page["recordings"] for clip in recording["clips"]]
    assert sources
    assert all(source.startswith("data:audio/ogg;base64,") for source in sources)


def test_clips_of_an_earlier_report_go_and_other_files_stay(tmp_path):
    run = answered_run(str(tmp_path / "run"))
    page_of(run, tmp_path)
    (tmp_path / "clips" / "mine.opus").touch()
    page_of(run, tmp_path, clips_mb=0)
    assert [file.name for file in (tmp_path / "clips").iterdir()] == ["mine.opus"]


def test_a_run_on_object_storage_is_reported_there(s3_bucket):
    run = answered_run(f"s3://{s3_bucket.name}/run")
    assert main([run.path]) == 0
    page = data_in(storage.read_text(f"{run.path}/report/report.html"))
    (clip, *_) = page["recordings"][page["items"][-1]["recording"]]["clips"]
    assert storage.num_bytes(f"{run.path}/report/{clip['source']}") > 1000


def test_a_large_run_shows_the_items_most_worth_a_look(tmp_path):
    page = page_of(answered_run(str(tmp_path / "run")), tmp_path, num_items=1)
    assert [item["id"] for item in page["items"]] == ["broken-1"]
    assert page["facts"]["items"] == "2 answered, 1 failed"
    assert page["facts"]["shown"] == "1 of 3 items: wrong, failed, then the least certain"


def test_the_answers_of_a_sweep_are_told_apart_by_their_points(tmp_path):
    made = answered_run(str(tmp_path / "run")).read_answers("ok", [field.name for field in SCHEMA])
    sweep = RunStore(str(tmp_path / "sweep"), ("benchmark", "point", "item_id"))
    for point in ("speechprune rate=0.2", "none"):
        keys = {"benchmark": "b", "point": point}
        columns = {name: pa.array([value] * len(made)) for name, value in keys.items()}
        sweep.write_answers("ok", pa.table(dict(zip(made.column_names, made.columns, strict=True)) | columns))
    page = page_of(RunStore(sweep.path), tmp_path)
    assert sorted(item["method"] for item in page["items"]) == ["none"] * 2 + ["speechprune rate=0.2"] * 2
    assert {item["benchmark"] for item in page["items"]} == {"b"}


def test_what_can_not_be_done_is_one_line(tmp_path, log_lines, monkeypatch):
    monkeypatch.setattr("speechprune.pipeline.terminal.log_to_screen", lambda: None)
    assert main([str(tmp_path)]) == 2
    assert log_lines[-1] == f"{tmp_path} holds no answers: is it the output.path of a run?"
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--items", "0"])
    assert stopped.value.code == 2
