"""Recordings that kill their workers, hold them for ever or eat their memory: only they fail."""

import os
import signal
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import ray

from speechprune import SpeechPrune
from speechprune.audio import SAMPLE_RATE
from speechprune.pipeline import answer_stage
from speechprune.pipeline.stages import decode_recording
from speechprune.pruning import METHODS, PruningInputs, PruningResult
from tests.helpers.harness import Job, launch, write_sound

CHOICES = ["yes", "no"]
MAX_SECONDS = 10
MAX_DECODE_GB = 0.1
GREEDY_SECONDS = 5400  # a small file of which 0.17 GB of samples unpack
MAX_ATTEMPTS = 1  # even so, those that were in company when the worker died are not given up


def decode_deadly(tasks: pa.Table, **options) -> pa.Table:
    """The decode stage of a worker whose decoder does not survive one file."""
    from speechprune.pipeline import stages as stage

    decode_audio = stage.decode_audio

    def decode(source: str, **span):
        if source.endswith("deadly_to_decode.wav"):
            os.kill(os.getpid(), signal.SIGKILL)
        if source.endswith("endless.wav"):
            threading.Event().wait()
        return decode_audio(source, **span)

    stage.decode_audio = decode
    try:
        return decode_recording(tasks, **options)
    finally:
        stage.decode_audio = decode_audio


@dataclass(frozen=True, kw_only=True)
class DeadlyMethod(SpeechPrune):
    """A pruning method that one item's worker does not survive."""

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        if inputs.item_id == "deadly_to_answer":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().keep(inputs, num_kept)


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech, ray_address):
    """Two killers, one that hangs and one that eats memory, among four others and in blocks with them."""
    job = Job(tmp_path_factory.mktemp("killers"))
    names = ["a", "deadly_to_decode", "b", "c", "deadly_to_answer", "endless", "d"]
    items = [
        {
            "item_id": name,
            "audio": write_sound(job.folder / f"{name}.wav", speech(1.0, start=3.0 * i)),
            "question": "Is it?",
            "choices": CHOICES,
        }
        for i, name in enumerate(names)
    ]
    click = np.zeros(GREEDY_SECONDS * SAMPLE_RATE, np.int16)
    click[0] = 1
    items.append(items[0] | {"item_id": "greedy", "audio": write_sound(job.folder / "greedy.flac", click)})
    job.write(
        items,
        tiny_model_folder,
        ray={
            "recordings_per_block": 3,
            "max_attempts": MAX_ATTEMPTS,
            "max_seconds_per_recording": MAX_SECONDS,
            "max_decode_gb": MAX_DECODE_GB,
        },
        output={"max_failed_fraction": 0.5},
    )
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import this module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_stage, "decode_recording", decode_deadly)
        patch.setitem(METHODS, "speechprune", DeadlyMethod)
        result = launch(job.config, executor="ray")
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert result.code == 0, result.lines
    return job


@pytest.mark.parametrize("stage", ["decode", "answer"])
def test_a_killer_becomes_a_failed_row_that_says_so(job, stage):
    row = job.rows("failed")[f"deadly_to_{stage}"]
    assert row["error_type"] == "PoisonedRecording"
    doing = {"decode": "decoding", "answer": "answering about"}[stage]
    assert row["error"].startswith(
        f"{doing} {row['audio']} killed its worker in {MAX_ATTEMPTS} attempt: look at"
    )


def test_one_that_hangs_becomes_a_failed_row_that_says_so(job):
    row = job.rows("failed")["endless"]
    assert row["error_type"] == "PoisonedRecording"
    assert row["error"].startswith(
        f"decoding {row['audio']} was not done after {MAX_SECONDS} s in {MAX_ATTEMPTS} attempt: look at"
    )


def test_one_that_unpacks_to_more_than_it_may_take_becomes_a_failed_row_that_says_so(job):
    row = job.rows("failed")["greedy"]
    assert row["error_type"] == "TooMuchMemory"
    assert row["error"].startswith(f"{row['audio']} can't be decoded in {MAX_DECODE_GB} GB")


def test_all_others_are_answered(job):
    assert set(job.rows("ok")) == {"a", "b", "c", "d"}
    assert len(job.rows("failed")) == 4
