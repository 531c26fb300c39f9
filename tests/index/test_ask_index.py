"""Questions that are answered from an index: standing ones, a manifest's, and of the whole archive."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from speechprune import storage
from tests.helpers.archive import NIGHT
from tests.helpers.harness import JOB, Job, launch, write_sound
from tests.helpers.sweeps import SWEEP, sweep_rows

SEARCH = Path(__file__).parents[2] / "jobs/search_archive.py"
CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]


@pytest.fixture
def asked(archive, speech) -> Job:
    """An archive with questions about it, and a job that asks them."""
    job = Job(archive.folder)
    items = [
        {
            "item_id": f"{i}-{question}",
            "audio": f"sounds/{write_sound(archive.sounds / f'{i}.wav', speech(seconds, start=9.0 * i))}",
            "question": question,
            "choices": CHOICES,
        }
        for i, seconds in enumerate((3.0, 40.0, 61.0))
        for question in ("Which day?", "What comes next?")
    ]
    job.write(items, archive.model, input={"index": archive.index})
    return job


def test_answers_from_the_index_are_those_of_the_recordings(archive, asked):
    """To the bit in bfloat16, whose numbers float16 holds."""
    assert launch(archive.config, "index.shard_minutes=5", "model.dtype=bfloat16", job=NIGHT).code == 0
    direct = Job(asked.folder / "direct")
    for path, index in ((direct.run, "null"), (asked.run, archive.index)):
        result = launch(asked.config, f"output.path={path}", f"input.index={index}", "model.dtype=bfloat16")
        assert result.code == 0
        for sound in archive.sounds.iterdir():
            sound.unlink()  # the index stands in for the audio
    assert any("3 of 3 recordings to ask are in the index" in line for line in result.lines)
    expected = direct.rows("ok")
    assert len(expected) == len(asked.rows("ok")) == 6
    for item_id, row in asked.rows("ok").items():
        for name in ("prediction", "choice_probabilities", "evidence", "num_kept_tokens", "audio_seconds"):
            assert row[name] == expected[item_id][name]
        assert row["tflops_encode"] < expected[item_id]["tflops_encode"] / 50


def test_a_sweep_from_the_index_answers_as_the_job_does(archive, asked):
    assert launch(archive.config, job=NIGHT).code == 0
    assert launch(asked.config).code == 0
    for sound in archive.sounds.iterdir():
        sound.unlink()
    sweep = Job(archive.folder / "sweep")
    sweep.folder.mkdir()
    sweep.write(
        [row | {"audio": str(archive.folder / row["audio"]), "answer": "A"} for row in asked.items()],
        archive.model,
        input={"index": archive.index},
        grid={"points": [{"method": "speechprune"}]},
    )
    result = launch(sweep.config, job=SWEEP)
    assert result.code == 0, result.lines
    expected = asked.rows("ok")
    for (*_, item_id), row in sweep_rows(sweep).items():
        assert row["choice_probabilities"] == expected[item_id]["choice_probabilities"]
        assert row["tflops_encode"] == expected[item_id]["tflops_encode"]


def test_an_index_of_another_model_is_refused_and_lives_beside(archive, asked, grouped_query_model_folder):
    assert launch(archive.config, job=NIGHT).code == 0
    other = f"model.path={grouped_query_model_folder}"
    result = launch(asked.config, other)
    assert result.code == 2
    assert archive.model in result.lines[-1]
    assert f"not of {grouped_query_model_folder}" in result.lines[-1]
    assert launch(archive.config, other, job=NIGHT).code == 0
    assert len(storage.folders_in(archive.index)) == 2
    assert launch(asked.config, other).code == 0
    result = launch(archive.config, "index.states=int8", job=NIGHT)
    assert result.code == 2
    assert "index.states is 'int8', but the windows in" in result.lines[-1]


def test_an_index_of_another_version_is_refused(archive, asked):
    assert launch(archive.config, job=NIGHT).code == 0
    (folder,) = storage.folders_in(archive.index)
    run = Path(folder, "run.json")
    record = json.loads(run.read_text())
    del record["settings"]["index format"]
    run.write_text(json.dumps(record))
    for config, job in ((asked.config, JOB), (archive.config, NIGHT)):
        result = launch(config, job=job)
        assert result.code == 2
        assert "index.path" in result.lines[-1]
    assert "another version" in launch(asked.config).lines[-1]


def test_standing_questions_are_asked_once(archive, speech):
    write_sound(archive.sounds / "a.wav", speech(3.0))
    questions = archive.folder / "questions.yaml"
    questions.write_text(
        yaml.safe_dump([{"question": "Which day?", "choices": CHOICES}, {"question": "Why?"}])
    )
    output = archive.folder / "answers"
    night = (archive.config, f"questions.path={questions}", f"questions.output={output}")
    assert launch(*night, job=NIGHT).code == 0
    assert archive.summary(archive.index)["questions"]["num_ok"] == 2
    write_sound(archive.sounds / "b.wav", speech(3.0, start=5.0))
    assert launch(*night, job=NIGHT).code == 0
    assert archive.summary(archive.index)["questions"]["num_items"] == 2
    assert launch(*night, job=NIGHT).code == 0
    assert archive.summary(archive.index)["questions"]["num_items"] == 0
    [day] = storage.folders_in(str(output))
    rows = pq.read_table(day + "/answers").to_pylist()
    assert sorted((Path(row["audio"]).name, row["question_id"]) for row in rows) == [
        ("a.wav", "Which day?"),
        ("a.wav", "Why?"),
        ("b.wav", "Which day?"),
        ("b.wav", "Why?"),
    ]
    questions.write_text(yaml.safe_dump(["Which day?", "Why?", "Who?"]))
    refused = launch(*night, "pruning.pruning_rate=0.6", job=NIGHT)
    assert refused.code == 2
    assert refused.lines[-1].startswith("pruning.pruning_rate is 0.6")
    assert "give another questions.output" in refused.lines[-1]


def test_a_search_ranks_every_recording_and_asks_the_best(archive, asked):
    assert launch(archive.config, job=NIGHT).code == 0
    config = archive.folder / "search.yaml"
    values = {
        "search": {"index": archive.index, "num_answered": 2},
        "model": {"path": archive.model, "dtype": "float32", "device": "cpu"},
        "output": {"path": str(archive.folder / "found")},
        "ray": {"executor": "local"},
    }
    config.write_text(yaml.safe_dump(values))
    assert launch("Which day?", *CHOICES, str(config), job=SEARCH).code == 0
    hits = pq.read_table(archive.folder / "found/hits.parquet").to_pylist()
    assert sorted(Path(hit["recording"]).name for hit in hits) == ["0.wav", "1.wav", "2.wav"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert [hit["prediction"] is not None for hit in hits] == [True, True, False]
    manifest = archive.folder / "manifest.jsonl"
    assert (
        launch(str(config), f"search.questions={manifest}", "search.questions_per_pass=4", job=SEARCH).code
        == 0
    )
    summary = json.loads((archive.folder / "found/summary.json").read_text())
    assert summary["num_questions"] == 6
    assert summary["found"]["late_interaction"]["recall_at_5"] == 1.0
    assert summary["found"]["chance"]["recall_at_1"] == pytest.approx(1 / 3)
    where = "search.where={project: b}"
    refused = launch("Which day?", str(config), where, job=SEARCH)
    assert refused.code == 2
    assert "give search.columns=" in refused.lines[-1]
    columns = archive.folder / "columns.csv"
    columns.write_text("audio,project\nsounds/0.wav,a\nsounds/1.wav,b\nsounds/2.wav,b\n")
    assert launch(archive.config, f"archive.path={columns}", job=NIGHT).code == 0
    assert launch("Which day?", str(config), where, "search.seconds=[30, 45.5]", job=SEARCH).code == 0
    hits = pq.read_table(archive.folder / "found/hits.parquet").to_pylist()
    assert sorted(Path(hit["recording"]).name for hit in hits) == ["1.wav", "2.wav"]
    matches = [match for hit in hits for match in hit["matches"]]
    assert all(29.9 < match["start"] < match["end"] < 45.6 for match in matches)
    refused = launch("Which day?", "Monday", str(config), job=SEARCH)
    assert refused.code == 2
    assert refused.lines[-1].startswith("1 choice: give 2 to 26")
