"""However a job is stopped, the same command finishes it: every item answered once, nothing done twice."""

import os
import random
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.harness import Job, JobProcess, launch, write_sound

NUM_RECORDINGS = 14
STOPS = range(2, 7)  # answers files at which a stop may come: more than half of the work is then to do
CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]


@pytest.fixture
def job(tmp_path, tiny_model_folder, speech, monkeypatch) -> Job:
    """One recording a block; many orders of the choices, so that a block takes a while."""
    job = Job(tmp_path)
    items = [
        {"audio": write_sound(tmp_path / f"{i}.wav", speech(2.0, start=5.0 * i)), "question": question}
        for i in range(NUM_RECORDINGS)
        for question in ("Which day?", "What comes next?")
    ]
    monkeypatch.chdir(Path(tiny_model_folder).parent)  # where the cluster was not started
    job.write(
        [item | {"item_id": f"item-{i}", "choices": CHOICES} for i, item in enumerate(items)],
        os.path.basename(tiny_model_folder),
        answering={"permute_choices": 12},
        ray={"recordings_per_block": 1},
    )
    return job


def test_every_item_is_answered_once_however_the_job_was_stopped(job, job_process):
    stops = random.Random(0).sample(STOPS, 2)
    finished_at = {}
    for num_files, stop in zip(sorted(stops), (signal.SIGKILL, signal.SIGINT), strict=True):
        finished_at |= stop_at(job, num_files, stop, job_process(job.config))
    assert launch(job.config).code == 0
    assert_answered_once(job, finished_at)


def stop_at(job: Job, num_files: int, stop: signal.Signals, process: JobProcess) -> dict:
    """Stop a launch when there are so many answers files; when each of the answers was finished."""
    process.wait_until(lambda: len(job.files("ok")) >= num_files)
    process.send(stop)
    result = process.wait()
    assert result.code == (130 if stop == signal.SIGINT else -signal.SIGKILL), result.lines
    finished_at = when_finished(job)
    assert finished_at
    return finished_at


def assert_answered_once(job: Job, finished_at: dict) -> None:
    rows = job.rows("ok")
    assert set(rows) == {f"item-{i}" for i in range(2 * NUM_RECORDINGS)}
    assert not job.files("failed")
    assert {name: rows[name]["finished_at"] for name in finished_at} == finished_at


def when_finished(job: Job) -> dict:
    rows = [
        row
        for file in job.files("ok")
        for row in pq.read_table(file, columns=["item_id", "finished_at"], partitioning=None).to_pylist()
    ]
    return {row["item_id"]: row["finished_at"] for row in rows}
