"""The stage for Ray Data pipelines of one's own: rows in their order, answers as the job's."""

from pathlib import Path

import pyarrow as pa
import pytest
import ray

from speechprune import AnsweringOptions, SpeechPrune
from speechprune.data.row_files import ManifestError
from speechprune.models.options import ModelOptions
from speechprune.ray import AnswerStage
from tests.helpers.harness import Job, launch, write_sound

CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]
METHOD = SpeechPrune(phase1_budget=40, pruning_rate=0.5)
OPTIONS = AnsweringOptions(max_new_tokens=3)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, speech) -> list[str]:
    folder = tmp_path_factory.mktemp("sounds")
    return [str(folder / write_sound(folder / f"{i}.wav", speech(2.0 + i, start=5.0 * i))) for i in range(3)]


@pytest.fixture(scope="module")
def rows(sounds) -> list[dict]:
    """Two questions about each recording, none beside the other; one about a recording that is missing."""
    rows = [
        {"audio": audio, "question": question, "choices": CHOICES, "answer": "Friday", "meeting": number}
        for question in ("Which day?", "What comes next?")
        for number, audio in enumerate(sounds)
    ]
    return [*rows[:4], rows[0] | {"audio": "gone.wav"}, *rows[4:]]


@pytest.fixture(scope="module")
def arguments(tiny_model_folder) -> dict:
    model = ModelOptions(path=tiny_model_folder, dtype="float32", device="cpu")
    return {"model": model, "method": METHOD, "options": OPTIONS}


@pytest.fixture(scope="module")
def stage(arguments) -> AnswerStage:
    return AnswerStage(**arguments)


def test_rows_come_back_in_their_order_with_the_jobs_answers(stage, rows, tmp_path, tiny_model_folder):
    answered = stage(pa.Table.from_pylist(rows)).to_pylist()
    assert [{name: row[name] for name in rows[0]} for row in answered] == rows
    job = Job(tmp_path)
    pruning = {"phase1_budget": 40, "pruning_rate": 0.5}
    job.write(rows, tiny_model_folder, pruning=pruning, output={"max_failed_fraction": 1})
    assert launch(job.config).code == 0
    expected = job.rows("ok") | job.rows("failed")
    for row in answered:
        of_job = expected[row["item_id"]]
        assert row["status"] == ("failed" if row["audio"] == "gone.wav" else "ok")
        for name in ("choice_probabilities", "prediction", "correct", "num_kept_tokens", "tflops_total"):
            assert row[name] == of_job.get(name)
    [failed] = [row for row in answered if row["status"] == "failed"]
    assert "gone.wav does not exist" in failed["error"]


def test_a_recording_may_be_its_bytes_and_a_row_may_come_twice(stage, rows):
    embedded = rows[0] | {"audio": Path(rows[0]["audio"]).read_bytes(), "item_id": "same"}
    by_uri, *twice = [
        stage(pa.Table.from_pylist(some)).to_pylist() for some in ([rows[0]], [embedded, embedded])
    ]
    assert len(twice[0]) == 2
    for row in twice[0]:
        assert row["audio"] == embedded["audio"]
        assert row["choice_probabilities"] == by_uri[0]["choice_probabilities"]


def test_what_no_row_can_be_made_of_is_one_sentence(stage, rows):
    with pytest.raises(ManifestError, match=r"^the batch has no column question"):
        stage(pa.Table.from_pylist([{"audio": rows[0]["audio"]}]))
    with pytest.raises(ManifestError, match=r"^the batch: row 1: .*Sunday"):
        stage(pa.Table.from_pylist([rows[0] | {"answer": "Sunday"}]))
    with pytest.raises(ManifestError, match="rename prediction"):
        stage(pa.Table.from_pylist([rows[0] | {"prediction": "A"}]))
    with pytest.raises(TypeError, match='got dict: give map_batches batch_format="pyarrow"'):
        stage({"audio": rows})


def test_it_is_a_stage_of_ray_data(stage, rows, arguments, ray_address):
    dataset = ray.data.from_arrow([pa.Table.from_pylist(rows[:4]), pa.Table.from_pylist(rows[5:])])
    dataset = dataset.map_batches(
        AnswerStage,
        fn_constructor_kwargs=arguments,
        batch_format="pyarrow",
        batch_size=4,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    answered = {(row["audio"], row["question"]): row for row in dataset.take_all()}
    here = stage(pa.Table.from_pylist([*rows[:4], *rows[5:]])).to_pylist()
    assert len(answered) == len(here) == 6
    for row in here:
        other = answered[row["audio"], row["question"]]
        assert other["prediction"] == row["prediction"]
        assert other["choice_probabilities"] == pytest.approx(row["choice_probabilities"], abs=1e-5)
