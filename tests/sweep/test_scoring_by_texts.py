"""Choices scored by their texts in the main job and in a sweep: rows, controls, and what is refused."""

import pyarrow.parquet as pq
import pytest

from tests.helpers.harness import Job, Launch, launch
from tests.helpers.sweeps import CHOICES, NUM_RECORDINGS, SWEEP, items, make_job, sweep_rows

ANSWERING = {"scoring": "texts", "no_audio_baseline": True}
POINT = {"method": "first_phase", "pruning_rate": 0.2, "phase1_budget": 40}
SAME = (
    "prediction",
    "prediction_text",
    "choice_probabilities",
    "correct",
    "correct_without_audio",
    "num_text_tokens",
)


@pytest.fixture(scope="module")
def main(tmp_path_factory, tiny_model_folder, speech) -> tuple[Job, Launch]:
    job = Job(tmp_path_factory.mktemp("texts"))
    job.write(items(job.folder, speech), tiny_model_folder, answering=ANSWERING, pruning=POINT)
    return job, launch(job.config)


def test_rows_name_the_choice_by_its_letter_and_its_text(main):
    job, result = main
    assert result.code == 0, result.lines
    rows = job.rows("ok")
    assert len(rows) == 2 * NUM_RECORDINGS
    for row in rows.values():
        best = max(range(len(CHOICES)), key=row["choice_probabilities"].__getitem__)
        assert (row["prediction"], row["prediction_text"]) == ("ABCD"[best], CHOICES[best])
        assert sum(row["choice_probabilities"]) == pytest.approx(1)
        assert row["correct"] == (row["prediction"] == row["answer"])
        assert row["correct_permuted"] is None
        assert row["correct_without_audio"] is not None


@pytest.mark.parametrize(
    ("name", "value"), [("scoring", "letters"), ("scoring", "texts_per_token"), ("calibrate", "True")]
)
def test_a_run_is_not_continued_with_other_scoring(main, name, value):
    job, _ = main
    result = launch(job.config, f"answering.{name}={value.lower()}")
    assert result.code == 2
    assert f"answering.{name} is {value if name == 'calibrate' else repr(value)}, but" in result.lines[-1]


def test_a_sweep_has_the_same_rows_and_leaves_the_control_of_letters_empty(
    main, tmp_path, tiny_model_folder, speech, monkeypatch
):
    monkeypatch.setattr("speechprune.sweep.report.draw_figures", lambda points: [])
    job = make_job(
        tmp_path,
        tiny_model_folder,
        speech,
        grid={"points": [POINT]},
        answering=ANSWERING,
        report={"reference": POINT, "slices": []},
    )
    refused = launch(job.config, job=SWEEP)
    assert refused.code == 2
    assert "permuted_check is True, but with scoring=texts no letter is asked for" in refused.lines[-1]
    result = launch(job.config, "answering.permuted_check=false", job=SWEEP)
    assert result.code == 0, result.lines
    by_id = main[0].rows("ok")
    rows = {key[3]: row for key, row in sweep_rows(job).items()}
    assert {id_: [row[name] for name in SAME] for id_, row in rows.items()} == {
        id_: [row[name] for name in SAME] for id_, row in by_id.items()
    }
    (point, *_) = pq.read_table(job.run / "points.parquet").to_pylist()
    right = [row["correct_without_audio"] for row in rows.values()]
    assert point["accuracy_without_audio"] == sum(right) / len(right)
    assert point["accuracy_permuted"] is None
    header = next(
        line
        for line in (job.run / "report.md").read_text().splitlines()
        if "no audio" in line and "|" in line
    )
    assert "permuted" not in header
