"""A benchmark is what its settings and seed say, however it was built: in blocks, by few, after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import ray
import soundfile

from speechprune import storage
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.directory import BenchmarkDirectory
from speechprune.benchmarks.builder.job import plan_tasks
from speechprune.benchmarks.builder.on_ray import RecordingActor
from speechprune.benchmarks.builder.recording_stage import RecordingStage, RecordingTask, pack_tasks
from speechprune.config import load_config
from speechprune.data.manifest import read_manifest
from speechprune.data.sources import InputOptions
from tests.helpers.benchmarks import (
    JOB,
    NUM_BEFORE_KILL,
    NUM_QUESTIONS,
    NUM_RECORDINGS,
    audio_of,
    differing,
    files_of,
    launch_build,
    rows_of,
    write_config,
)


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


def test_a_killed_build_goes_on_in_other_blocks_on_ray_and_gives_the_same_bytes(
    built, tmp_path, job_process, ray_address
):
    config = write_config(tmp_path)
    directory = BenchmarkDirectory(str(tmp_path / "benchmark"))
    process = job_process(config, job=JOB)
    process.wait_until(lambda: len(directory.read_recordings().made) >= NUM_BEFORE_KILL)
    process.send(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    made = directory.read_recordings().made
    assert NUM_BEFORE_KILL <= len(made) < NUM_RECORDINGS
    audio = {name: (tmp_path / f"benchmark/audio/{name}.flac") for name in made}
    written_at = {name: path.stat().st_mtime_ns for name, path in audio.items()}
    assert launch_build(config, "ray.recordings_per_block=5", executor="ray").code == 0
    assert differing(tmp_path / "benchmark", built) == []
    assert {name: path.stat().st_mtime_ns for name, path in audio.items()} == written_at


def test_ray_is_imported_only_where_it_runs_the_build():
    program = "import sys, speechprune.benchmarks.builder.job; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=JOB.parents[1], check=True)


def test_a_finished_build_does_nothing_again(built):
    before = files_of(built)
    result = launch_build(str(built.parent / "config.yaml"))
    assert result.code == 0
    assert f"{NUM_RECORDINGS} recordings, {NUM_RECORDINGS} of them already made" in result.lines[0]
    assert files_of(built) == before


def test_another_seed_is_refused_in_the_same_place(built):
    result = launch_build(str(built.parent / "config.yaml"), "items.seed=5")
    assert result.code == 2
    (line,) = result.lines
    assert line.startswith(f"items.seed is 5, but the recordings in {built} were made with 0: give another")


# workers


class DeadlyActor(RecordingActor):
    """An actor whose worker one recording does not let live."""

    def _make(self, task: RecordingTask) -> dict:
        if task.recording_id == "recording-0001":
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._make(task)


def test_a_recording_that_kills_its_worker_fails_alone(built, tmp_path, monkeypatch, ray_address):
    config = write_config(tmp_path, ray={"max_attempts": 2, "recordings_per_block": 12})
    map_batches = ray.data.Dataset.map_batches
    monkeypatch.setattr(
        ray.data.Dataset,
        "map_batches",
        lambda dataset, _, **options: map_batches(dataset, DeadlyActor, **options),
    )
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import this module
    result = launch_build(config, executor="ray")
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert result.code == 1
    recordings = BenchmarkDirectory(str(tmp_path / "benchmark")).read_recordings()
    assert len(recordings.made) == NUM_RECORDINGS - 1
    (failure,) = recordings.failed.values()
    assert failure.startswith("PoisonedRecording: making it killed its worker in 2 attempts")
    whole = files_of(built)
    assert all((name, data) in whole.items() for name, data in audio_of(tmp_path / "benchmark").items())


def test_the_stage_writes_the_same_bytes_to_object_storage(built, tmp_path, bucket):
    config = load_config(BuildConfig, write_config(tmp_path))
    tasks = plan_tasks(config)[:2]
    path = f"s3://{bucket}/benchmark"
    (report,) = RecordingStage(config=config, path=path)(pack_tasks(tasks)).to_pylist()
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
