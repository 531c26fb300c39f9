"""A benchmark is what its settings and seed say, however it was built: in blocks, by few, after a kill."""

import functools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import ray
import soundfile
import yaml

from speechprune import storage
from speechprune.benchmarks.builder import job
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.directory import BenchmarkDirectory
from speechprune.benchmarks.builder.job import plan_tasks
from speechprune.benchmarks.builder.recording_stage import RecordingStage, RecordingTask, pack_tasks
from speechprune.config import load_config
from speechprune.data.manifest import read_manifest
from speechprune.data.sources import InputOptions
from speechprune.pipeline.retries import AttemptTracker
from tests.benchmarks.builder.test_recognition import save_wav2vec2
from tests.helpers.chat_server import good
from tests.helpers.harness import launch
from tests.helpers.protocol_server import ProtocolServer

JOB = Path(__file__).parents[3] / "jobs/build_benchmark.py"
NUM_RECORDINGS, NUM_QUESTIONS = 24, 2
NUM_BEFORE_KILL = 5
NUM_ACTORS = 2

launch_build = functools.partial(launch, job=JOB)


def write_config(folder: Path, **sections: dict) -> str:
    values = {
        "output": {"path": str(folder / "benchmark")},
        "items": {
            "num_recordings": NUM_RECORDINGS,
            "questions_per_recording": NUM_QUESTIONS,
            "min_seconds": 30,
            "max_seconds": 33,
        },
        "acoustics": {"snr_db": 20, "reverberation_seconds": 0.3},
        "ray": {"recordings_per_block": 2},
    }
    for section, settings in sections.items():
        values[section] = values.get(section, {}) | settings
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a user reads; parts and run.json tell how it was made."""
    names = ["README.md", "card.json", "manifest.jsonl", "spiral.jsonl", "transcripts.jsonl"]
    return {name: (folder / name).read_bytes() for name in names} | audio_of(folder)


def audio_of(folder: Path) -> dict[str, bytes]:
    return {f"audio/{path.name}": path.read_bytes() for path in (folder / "audio").iterdir()}


def differing(folder: Path, other: Path) -> list[str]:
    """Names of files that are not the same in both."""
    files, others = files_of(folder), files_of(other)
    return sorted(name for name in files | others if files.get(name) != others.get(name))


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def built(tmp_path_factory, ray_address) -> Path:
    """A benchmark that nothing disturbed."""
    folder = tmp_path_factory.mktemp("built")
    result = launch_build(write_config(folder))
    assert result.code == 0, result.lines
    return folder / "benchmark"


def test_it_is_a_manifest_for_the_main_job(built):
    manifest = read_manifest(InputOptions(manifest=str(built / "manifest.jsonl")), "unused")
    assert not manifest.malformed
    rows = manifest.items.to_pylist()
    assert len(rows) == NUM_RECORDINGS * NUM_QUESTIONS
    for row in rows:
        seconds = soundfile.info(row["audio"]).duration
        assert 20 < seconds < 40
        assert 0 <= row["evidence_start"] < row["evidence_end"] <= seconds


def test_letters_voices_and_scenarios_are_even(built):
    card = json.loads((built / "card.json").read_text())
    assert set(card["letters"].values()) == {NUM_RECORDINGS * NUM_QUESTIONS // 4}
    assert set(card["voice_groups"].values()) == {NUM_RECORDINGS // 2}
    assert set(card["scenarios"].values()) == {NUM_RECORDINGS // 3}
    assert card["positions_p"] > 0.05


def test_the_critical_fact_is_said_where_the_manifest_says(built):
    transcripts = {row["recording_id"]: row for row in rows_of(built / "transcripts.jsonl")}
    for row, record in zip(rows_of(built / "manifest.jsonl"), rows_of(built / "spiral.jsonl"), strict=True):
        transcript = transcripts[Path(row["audio"]).stem]
        (sentence,) = (
            sentence["text"]
            for turn in transcript["turns"]
            for sentence in turn["sentences"]
            if (sentence["start"], sentence["end"]) == (row["evidence_start"], row["evidence_end"])
        )
        assert sentence == record["original_key_sentence"]
        right = row["choices"]["ABCD".index(row["answer"])]
        assert right.lower() in sentence.lower()


def test_neither_blocks_nor_workers_change_a_byte(built, tmp_path):
    config = write_config(tmp_path, ray={"recordings_per_block": 5, "max_actors": 1, "cpus_per_actor": 0.5})
    assert launch_build(config).code == 0
    assert differing(tmp_path / "benchmark", built) == []


def test_a_killed_build_goes_on_and_gives_the_same_bytes(built, tmp_path, job_process, ray_address):
    config = write_config(tmp_path)
    directory = BenchmarkDirectory(str(tmp_path / "benchmark"))
    process = job_process(config, job=JOB, environment={"RAY_ADDRESS": ray_address})
    process.wait_until(lambda: len(directory.read_recordings().made) >= NUM_BEFORE_KILL)
    process.send(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    made = directory.read_recordings().made
    assert NUM_BEFORE_KILL <= len(made) < NUM_RECORDINGS
    audio = {name: (tmp_path / f"benchmark/audio/{name}.flac") for name in made}
    written_at = {name: path.stat().st_mtime_ns for name, path in audio.items()}
    assert launch_build(config).code == 0
    assert differing(tmp_path / "benchmark", built) == []
    assert {name: path.stat().st_mtime_ns for name, path in audio.items()} == written_at


def test_a_finished_build_does_nothing_again(built):
    before = files_of(built)
    result = launch_build(str(built.parent / "config.yaml"))
    assert result.code == 0
    assert f"{NUM_RECORDINGS} recordings, {NUM_RECORDINGS} of them already made" in result.lines[0]
    assert files_of(built) == before


def test_quality_is_measured_on_a_finished_benchmark(built, tmp_path, tiny_model_folder):
    recogniser = tmp_path / "recogniser"
    recogniser.mkdir()
    save_wav2vec2(recogniser)
    copy = tmp_path / "benchmark"
    shutil.copytree(built, copy)
    result = launch_build(
        write_config(tmp_path),
        f"quality.model={tiny_model_folder}",
        f"quality.asr_model={recogniser}",
        "quality.asr_limit=2",
    )
    assert result.code == 0, result.lines
    card = json.loads((copy / "card.json").read_text())
    assert card["no_audio"]["num_questions"] == NUM_RECORDINGS * NUM_QUESTIONS
    assert 0 <= card["no_audio"]["accuracy"] < 0.6  # of a random model
    assert card["recognition"]["num_recordings"] == 2
    assert card["recognition"]["word_error_rate"] > 0.9  # likewise
    assert differing(copy, built) == ["README.md", "card.json"]


def test_another_seed_is_refused_in_the_same_place(built):
    result = launch_build(str(built.parent / "config.yaml"), "items.seed=5")
    assert result.code == 2
    (line,) = result.lines
    assert line.startswith(f"items.seed is 5, but the recordings in {built} were made with 0: give another")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("items.seeds=1", "unknown key items.seeds: did you mean items.seed?"),
        ("writer.texts=nowhere.jsonl", "writer.texts can't be read"),
        ("quality.asr_model=nowhere/at-all/none", "quality.asr_model nowhere/at-all/none can't be loaded"),
        ("quality.model=nowhere/at-all/none", "model.path nowhere/at-all/none"),
        ("output.path=gopher://host/benchmark", "gopher"),
    ],
)
def test_what_can_not_be_built_is_refused_before_any_worker(tmp_path, monkeypatch, override, sentence):
    monkeypatch.setattr(job, "start_ray", lambda: pytest.fail("Ray was started"))
    kind = ["writer.kind=spiral"] if override.startswith("writer") else []
    result = launch_build(write_config(tmp_path), override, *kind)
    assert result.code == 2
    (line,) = result.lines
    assert sentence in line
    assert not (tmp_path / "benchmark").exists()


# texts that exist, one of which can't be spoken


@pytest.fixture
def texts(built, tmp_path) -> Path:
    """Three records of the benchmark as SPIRAL's texts; the second has a sentence without a sound."""
    records = rows_of(built / "spiral.jsonl")[::NUM_QUESTIONS][:3]
    mute = records[1]
    said = mute["audio_data"]["combined"]["sentences"]
    mute["transcript"][0]["text"][0] = said[0] = "..."
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_texts_that_exist_are_spoken_and_failures_are_named(built, texts, tmp_path):
    config = write_config(tmp_path, writer={"kind": "spiral", "texts": str(texts)})
    result = launch_build(config)
    assert result.code == 1
    assert result.lines[-1].startswith("1 recordings could not be made")
    folder = tmp_path / "benchmark"
    original = {row["item_id"]: row for row in rows_of(built / "manifest.jsonl")}
    rows = rows_of(folder / "manifest.jsonl")
    assert len(rows) == 2
    for row in rows:
        source = original[row["item_id"].removesuffix("-1")]
        for column in ("question", "choices", "answer", "scenario", "topic", "subtopic"):
            assert row[column] == source[column]
    mute = rows_of(texts)[1]["metadata"]["id"]
    readme = (folder / "README.md").read_text()
    assert "## 1 recordings could not be made" in readme
    assert f"- {mute}: SpeechError: " in readme
    again = launch_build(config)  # what failed is tried again, and nothing else
    assert again.code == 1
    assert "3 recordings, 2 of them already made" in again.lines[0]


# a chat model that is paid for


def test_no_script_is_paid_for_twice(tmp_path, job_process, ray_address):
    with ProtocolServer(good).running() as server:
        config = write_config(
            tmp_path,
            writer={"kind": "chat"},
            chat={"model": "tiny-chat", "base_url": server.base_url, "backoff_seconds": 0.001},
        )
        scripts = tmp_path / "benchmark/scripts"
        process = job_process(config, job=JOB, environment={"RAY_ADDRESS": ray_address})
        process.wait_until(lambda: scripts.is_dir() and len(list(scripts.iterdir())) >= NUM_BEFORE_KILL)
        process.send(signal.SIGKILL)
        process.wait()
        written = {path.stem: path.read_bytes() for path in scripts.glob("recording-*.json")}
        assert len(written) < NUM_RECORDINGS
        result = launch_build(config)
    assert result.code == 0, result.lines
    seeds = {task.seed % 2**31: task.recording_id for task in plan_tasks(load_config(BuildConfig, config))}
    asked = [seeds[request.body["seed"]] for request in server.requests]
    assert set(asked) == set(seeds.values())
    assert {name for name in written if asked.count(name) > 1} == set()
    assert len(asked) <= NUM_RECORDINGS + NUM_ACTORS  # those that the kill left without their reply
    assert {name: (scripts / f"{name}.json").read_bytes() for name in written} == written


def test_scripts_hold_to_what_they_were_written_by_but_not_to_their_voices(tmp_path, ray_address):
    chat = {"writer": {"kind": "chat"}, "items": {"num_recordings": 2}}
    with ProtocolServer(good).running() as server:
        chat["chat"] = {"model": "tiny-chat", "base_url": server.base_url, "max_attempts": 1}
        speech = {"model": "tts", "base_url": f"{server.base_url}/none", "voices": ["a:female", "b:male"]}
        spoilt = launch_build(
            write_config(
                tmp_path,
                **chat,
                speech={"kind": "endpoint"},
                endpoint=speech | {"max_attempts": 1, "backoff_seconds": 0},
            )
        )
        assert spoilt.code == 1
        refused = launch_build(write_config(tmp_path, **chat), "chat.model=other")
        assert refused.code == 2
        assert "chat.model is 'other', but the scripts in" in refused.lines[0]
        assert launch_build(write_config(tmp_path, **chat)).code == 0
    chats = [request for request in server.requests if request.path.endswith("/chat/completions")]
    assert len(chats) == 2


# workers


class DeadlyStage(RecordingStage):
    """A stage whose worker one recording does not let live."""

    def _make(self, task: RecordingTask) -> dict:
        if task.recording_id == "recording-0001":
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._make(task)


def test_a_recording_that_kills_its_worker_fails_alone(built, tmp_path, monkeypatch):
    config = write_config(tmp_path, ray={"max_attempts": 2, "recordings_per_block": 12})
    monkeypatch.setattr(job, "RecordingStage", DeadlyStage)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import this module
    result = launch_build(config)
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert result.code == 1
    recordings = BenchmarkDirectory(str(tmp_path / "benchmark")).read_recordings()
    assert len(recordings.made) == NUM_RECORDINGS - 1
    (failure,) = recordings.failed.values()
    assert failure.startswith("PoisonedRecording: making it killed its worker in 2 attempts")
    whole = files_of(built)
    assert all((name, data) in whole.items() for name, data in audio_of(tmp_path / "benchmark").items())


def test_the_stage_writes_the_same_bytes_to_object_storage(built, tmp_path, bucket, s3_environment):
    config = load_config(BuildConfig, write_config(tmp_path))
    tasks = plan_tasks(config)[:2]
    path = f"s3://{bucket}/benchmark"
    tracker = ray.remote(AttemptTracker).options(num_cpus=0).remote()

    def make(block, tracker):
        return RecordingStage(config=config, path=path, tracker=tracker)(block)

    worker = ray.remote(runtime_env={"env_vars": s3_environment})(make)
    (report,) = ray.get(worker.remote(pack_tasks(tasks), tracker)).to_pylist()
    assert (report["num_ok"], report["num_failed"]) == (2, 0)
    made = BenchmarkDirectory(path).read_recordings().made
    for number, task in enumerate(tasks):
        entry = json.loads(made[task.recording_id])
        (audio,) = {row["audio"] for row in entry["manifest"]}
        assert storage.read_bytes(storage.join(path, audio)) == (built / audio).read_bytes()
        first = NUM_QUESTIONS * number
        assert entry["manifest"] == rows_of(built / "manifest.jsonl")[first : first + NUM_QUESTIONS]


def test_a_damaged_part_costs_only_its_own_recordings(built, tmp_path):
    directory = BenchmarkDirectory(str(tmp_path))
    lines = BenchmarkDirectory(str(built)).read_recordings().made
    first, second, *_ = lines
    directory.write_part("whole", [lines[first]])
    directory.write_part("damaged", [lines[second]])
    part = tmp_path / "parts/damaged.jsonl"
    part.write_bytes(part.read_bytes()[:100])
    assert set(directory.read_recordings().made) == {first}
    assert directory.read_part("damaged") == {}
