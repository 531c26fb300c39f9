"""The nightly job on a real S3 API and on disk: what is new is encoded once, whatever comes between."""

import json
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs
import yaml
from harness import Job, launch, write_sound
from ray.cluster_utils import Cluster

from speechprune import storage
from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.index.schema import WINDOWS_SCHEMA

NIGHT = Path(__file__).parents[2] / "jobs/index_archive.py"
SEARCH = Path(__file__).parents[2] / "jobs/search_archive.py"
CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]
# measured, or of the moment: all else is the same in any run
FREE_COLUMNS = ("seconds_decode_audio", "seconds_encode", "tflops_encode", "node", "indexed_at")


@dataclass(frozen=True)
class Archive:
    """A folder with recordings, the config of the nightly job, and its index."""

    folder: Path
    model: str

    @property
    def sounds(self) -> Path:
        return self.folder / "sounds"

    @property
    def config(self) -> str:
        return str(self.folder / "index.yaml")

    @property
    def index(self) -> str:
        return str(self.folder / "index")

    def configure(self, path: str, index: str, **sections: dict) -> None:
        values = {
            "archive": {"path": path},
            "model": {"path": self.model, "dtype": "float32", "device": "cpu"},
            "index": {"path": index, "shard_minutes": 0.5},
            "answering": {"max_new_tokens": 3},
        }
        for section, settings in sections.items():
            values[section] = values.get(section, {}) | settings
        Path(self.config).write_text(yaml.safe_dump(values))

    def summary(self, index: str) -> dict:
        [folder] = storage.folders_in(index)
        return json.loads(storage.read_text(f"{folder}/summary.json"))


def rows_of(index: str) -> list[dict]:
    """All rows of an index with one model, in order, without what is measured."""
    [folder] = storage.folders_in(index)
    rows = []
    for file in storage.files_in(f"{folder}/windows", ".parquet"):
        with storage.open_binary(file, block_bytes=1 << 20) as handle:
            rows += pq.read_table(handle).drop_columns(list(FREE_COLUMNS)).to_pylist()
    return sorted(rows, key=lambda row: (row["recording"], row["window"]))


@pytest.fixture
def archive(tmp_path, tiny_model_folder, ray_address) -> Archive:
    (tmp_path / "sounds").mkdir()
    archive = Archive(tmp_path, tiny_model_folder)
    archive.configure(str(archive.sounds), archive.index)
    return archive


def test_nights_on_s3_encode_what_is_new_and_drop_what_is_gone(archive, bucket, speech):
    """50 recordings; then 3 added, 2 changed, 1 deleted, 1 renamed; then nothing."""
    s3 = s3fs.S3FileSystem()
    index = f"s3://{bucket}/index"
    archive.configure(f"s3://{bucket}/meetings/**", index, ray={"recordings_per_block": 8})

    def store(number: int, start: float) -> None:
        name = write_sound(archive.sounds / f"{number:02}.wav", speech(0.5, start=start))
        s3.put(str(archive.sounds / name), f"{bucket}/meetings/2026/{name}")

    for number in range(50):
        store(number, start=0.5 * number)
    s3.pipe(f"{bucket}/meetings/agenda.txt", b"no sound")
    assert launch(archive.config, job=NIGHT).code == 0
    first = archive.summary(index)
    assert (first["num_recordings"], first["num_indexed"], first["num_encoded"]) == (50, 50, 50)
    before = {row["recording"]: row for row in rows_of(index)}

    for number in (50, 51, 52):
        store(number, start=0.5 * number)
    for number in (3, 4):
        store(number, start=40.0 + number)
    s3.rm(f"{bucket}/meetings/2026/07.wav")
    s3.mv(f"{bucket}/meetings/2026/08.wav", f"{bucket}/meetings/08-renamed.wav")
    assert launch(archive.config, job=NIGHT).code == 0
    second = archive.summary(index)
    assert second["num_encoded"] == 5
    assert (second["num_new"], second["num_changed"], second["num_copied"]) == (4, 2, 1)
    assert second["num_dropped"] == 2  # the deleted one, and the old name of the renamed one
    assert second["num_indexed"] == 52
    after = {row["recording"]: row for row in rows_of(index)}
    assert len(after) == len(rows_of(index)) == 52
    prefix = f"s3://{bucket}/meetings"
    assert set(before) - set(after) == {f"{prefix}/2026/07.wav", f"{prefix}/2026/08.wav"}
    assert {uri for uri in before.keys() & after.keys() if before[uri] != after[uri]} == {
        f"{prefix}/2026/03.wav",
        f"{prefix}/2026/04.wav",
    }
    renamed = after[f"{prefix}/08-renamed.wav"]
    assert renamed["states"] == before[f"{prefix}/2026/08.wav"]["states"]

    files = s3.find(f"{bucket}/index", detail=True)
    assert launch(archive.config, job=NIGHT).code == 0
    third = archive.summary(index)
    assert (third["num_encoded"], third["num_dropped"], third["this_launch"]["num_items"]) == (0, 0, 0)
    before_third = {file: info["ETag"] for file, info in files.items() if file.endswith(".parquet")}
    again = s3.find(f"{bucket}/index", detail=True)
    assert {file: info["ETag"] for file, info in again.items() if file.endswith(".parquet")} == before_third


@pytest.fixture
def long_archive(archive, speech) -> Archive:
    """Recordings of several parts each."""
    for i, seconds in enumerate((95.0, 20.0, 65.0, 31.0, 130.0)):
        write_sound(archive.sounds / f"{i}.flac", speech(seconds, start=7.0 * i))
    archive.configure(str(archive.sounds), archive.index, ray={"recordings_per_block": 1})
    return archive


def test_a_killed_night_is_continued_row_for_row(long_archive, job_process):
    whole = str(long_archive.folder / "undisturbed")
    assert launch(long_archive.config, f"index.path={whole}", job=NIGHT).code == 0
    expected = rows_of(whole)
    assert len(expected) == 4 + 1 + 3 + 2 + 5
    kills = sorted(random.Random(1).sample(range(1, 11), 3))
    for num_files in kills:
        process = job_process(long_archive.config, job=NIGHT)
        process.wait_until(lambda n=num_files: len(window_files(long_archive.index)) >= n)
        process.send(signal.SIGKILL)
        process.wait()
    result = launch(long_archive.config, job=NIGHT)
    assert result.code == 0, result.lines
    assert rows_of(long_archive.index) == expected
    assert set(expected[0]) == set(WINDOWS_SCHEMA.names) - set(FREE_COLUMNS)


def test_one_long_recording_uses_every_node(archive, speech, job_process):
    """A cluster of two nodes, each a raylet of its own, and a recording of ten minutes in twenty parts."""
    write_sound(archive.sounds / "long.flac", speech(600.0))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2}, shutdown_at_exit=False)
    try:
        cluster.add_node(num_cpus=2)
        process = job_process(
            archive.config,
            "ray.min_actors=2",
            "ray.recordings_per_block=2",
            environment={"RAY_ADDRESS": cluster.address},
            job=NIGHT,
        )
        assert process.wait().code == 0
    finally:
        cluster.shutdown()
    [folder] = storage.folders_in(archive.index)
    nodes = pq.read_table(f"{folder}/windows", columns=["node"]).column("node").to_pylist()
    assert len(nodes) == 20
    assert len(set(nodes)) == 2


def window_files(index: str) -> list[str]:
    return [
        file
        for folder in storage.folders_in(index)
        for file in storage.files_in(f"{folder}/windows", ".parquet")
    ]


def test_of_two_nights_at_once_one_works(long_archive, job_process):
    first = job_process(long_archive.config, job=NIGHT)
    first.wait_until(lambda: bool(window_files(long_archive.index)))
    second = launch(long_archive.config, job=NIGHT)
    assert second.code == 2
    assert "another run writes to this index: process" in second.lines[-1]
    assert first.wait().code == 0
    summary = long_archive.summary(long_archive.index)
    assert summary["num_indexed"] == summary["num_recordings"] == 5


def test_unreadable_recordings_are_listed_and_tried_again(archive, speech):
    write_sound(archive.sounds / "good.wav", speech(2.0))
    (archive.sounds / "bad.wav").write_bytes(b"RIFF not a recording")
    (archive.sounds / "empty.mp3").write_bytes(b"")
    for _ in range(2):
        result = launch(archive.config, job=NIGHT)
        assert result.code == 0
        summary = archive.summary(archive.index)
        assert [failure["error_type"] for failure in summary["failures"]] == ["AudioUnreadable"] * 2
        assert summary["num_indexed"] == 1
    assert summary["num_encoded"] == 0
    write_sound(archive.sounds / "bad.wav", speech(2.0, start=3.0))
    assert launch(archive.config, job=NIGHT).code == 0
    summary = archive.summary(archive.index)
    assert (summary["num_encoded"], summary["num_indexed"], len(summary["failures"])) == (1, 2, 1)


def test_a_truncated_index_file_is_named_and_made_again(archive, speech):
    for i in range(3):
        write_sound(archive.sounds / f"{i}.wav", speech(2.0, start=3.0 * i))
    assert launch(archive.config, "ray.recordings_per_block=1", job=NIGHT).code == 0
    expected = rows_of(archive.index)
    file = Path(window_files(archive.index)[1])
    file.write_bytes(file.read_bytes()[:-200])
    result = launch(archive.config, job=NIGHT)
    assert any(f"set aside {file}" in line for line in result.lines)
    assert archive.summary(archive.index)["num_encoded"] == 1
    assert rows_of(archive.index) == expected


def test_a_header_that_promises_more_than_there_is_gets_all_that_there_is(archive, speech):
    """A FLAC file of 95 s by its header, cut in the middle: its last parts are empty."""
    path = archive.sounds / write_sound(archive.sounds / "cut.flac", speech(95.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 5])
    there = len(decode_audio(str(path))) / SAMPLE_RATE
    assert 30 < there < 60
    assert launch(archive.config, job=NIGHT).code == 0
    assert archive.summary(archive.index)["num_indexed"] == 1
    first, second, *others = rows_of(archive.index)
    assert (first["num_tokens"], second["end_seconds"]) == (750, pytest.approx(there, abs=0.1))
    assert [row["num_tokens"] for row in others] == [0, 0]
    assert launch(archive.config, job=NIGHT).code == 0
    assert archive.summary(archive.index)["this_launch"]["num_items"] == 0


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


def test_a_search_ranks_every_recording_and_asks_the_best(archive, asked):
    assert launch(archive.config, job=NIGHT).code == 0
    config = archive.folder / "search.yaml"
    values = {
        "search": {"index": archive.index, "num_answered": 2},
        "model": {"path": archive.model, "dtype": "float32", "device": "cpu"},
        "output": {"path": str(archive.folder / "found")},
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
    refused = launch("Which day?", "Monday", str(config), job=SEARCH)
    assert refused.code == 2
    assert refused.lines[-1].startswith("1 choice: give 2 to 26")
