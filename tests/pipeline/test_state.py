"""Damage to a run directory, or a full disk: no other values, and no row missing in silence."""

import errno
import os
import random
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from speechprune import storage
from speechprune.pipeline.executor import LocalExecutor
from tests.helpers.harness import Job, launch, write_sound

NUM_ITEMS = 6
OTHER_REQUESTS = 16  # lease, settings, listings, summary: however many files there are
MEASURED = ("seconds_", "peak_memory_bytes", "finished_at")


@pytest.fixture
def job(tmp_path, tiny_model_folder, speech) -> Job:
    job = Job(tmp_path)
    items = [
        {"audio": write_sound(tmp_path / f"{i}.wav", speech(1.0, start=5.0 * i)), "question": "Which day?"}
        for i in range(NUM_ITEMS)
    ]
    items = [item | {"item_id": f"item-{i}", "choices": ["Monday", "Friday"]} for i, item in enumerate(items)]
    job.write(items, tiny_model_folder, ray={"recordings_per_block": 1})
    return job


def unmeasured(job: Job) -> dict[str, dict]:
    return {
        item_id: {name: value for name, value in row.items() if not name.startswith(MEASURED)}
        for item_id, row in job.rows("ok").items()
    }


def flip_a_bit(file: Path, generator: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    file.write_bytes(bytes(data))


def test_flipped_bits_are_answered_again_with_the_same_values(job):
    assert launch(job.config).code == 0
    before = unmeasured(job)
    generator = random.Random(0)
    for file in generator.sample(job.files("ok"), 3):
        flip_a_bit(file, generator)
    result = launch(job.config)
    assert result.code == 0
    assert sum("set aside" in line for line in result.lines) == 3
    assert len(list((job.run / "set_aside").iterdir())) == 3
    assert unmeasured(job) == before


def test_rows_that_are_damaged_before_the_summary_are_counted(job, monkeypatch, capsys):
    run = LocalExecutor.run

    def run_and_damage(*arguments):
        reports = run(*arguments)
        flip_a_bit(job.files("ok")[0], random.Random(0))
        return reports

    monkeypatch.setattr(LocalExecutor, "run", run_and_damage)
    result = launch(job.config)
    assert result.code == 1
    assert "1 items have no row, as a file was damaged: give the same command again" in result.lines
    assert "set aside " in "\n".join(result.lines)
    assert job.summary()["num_missing"] == 1
    assert "5 answered, 0 failed, 1 MISSING" in capsys.readouterr().out
    monkeypatch.undo()
    assert launch(job.config).code == 0
    assert (job.summary()["num_ok"], job.summary()["num_missing"]) == (NUM_ITEMS, 0)


def test_a_launch_with_nothing_to_do_asks_a_store_once_for_each_answers_file(job, s3_bucket, monkeypatch):
    output = f"output.path=s3://{s3_bucket.name}/run"
    assert launch(job.config, output).code == 0
    requests: list[tuple[str, str]] = []
    call = S3FileSystem._call_s3

    async def noted(self, method, *arguments, **options):
        requests.append((method, options.get("Key", "")))
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", noted)
    assert launch(job.config, output).code == 0
    about_answers = [method for method, key in requests if "answers/status=ok/" in key]
    assert about_answers == ["get_object"] * NUM_ITEMS
    assert len(requests) - NUM_ITEMS == OTHER_REQUESTS


def test_a_disk_that_fills_up_ends_the_job_in_a_line_and_loses_nothing(job, monkeypatch):
    write = Path.write_bytes

    def fill_up(self: Path, data: bytes) -> int:
        if "answers" in self.parts and len(job.files("ok")) == 2:
            write(self, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    result = launch(job.config)
    assert result.code != 0
    assert "can't be written, the disk is full or a quota is used up" in result.lines[-1]
    assert len(job.files("ok")) == 2
    assert [file.name for file in job.run.rglob(".*")] == []
    assert storage.files_in(str(job.run / "leases"), "") == []
    monkeypatch.undo()
    assert launch(job.config).code == 0
    assert len(job.rows("ok")) == NUM_ITEMS
