"""Recordings without their silence through jobs: from an index and straight, at the recording's seconds."""

import numpy as np
import pytest

from speechprune import storage
from speechprune.audio import SAMPLE_RATE
from speechprune.audio import speech as module
from speechprune.inference.encoding_options import EncodingOptions
from tests.helpers.archive import NIGHT, rows_of
from tests.helpers.harness import Job, launch, write_sound

OPTIONS = ("encoding.skip_silence=true", "index.shard_minutes=1")
SILENCE = 20 * SAMPLE_RATE


def loud_chunks(samples: np.ndarray, detector: bytes) -> np.ndarray:
    """Take for speech what is loud."""
    chunks = np.pad(samples, (0, -len(samples) % module.CHUNK_SAMPLES)).reshape(-1, module.CHUNK_SAMPLES)
    return (np.abs(chunks.astype(int)).max(axis=1) > 200).astype(np.float32)


@pytest.fixture
def asked(archive, speech, monkeypatch) -> Job:
    """25 s of speech, 20 s of a quiet room, 25 s of speech, and a question; and a recording of that room."""
    monkeypatch.setattr(module, "probabilities", loud_chunks)
    monkeypatch.setattr(EncodingOptions, "detector", lambda self: b"" if self.skip_silence else None)
    room = np.random.default_rng(0).integers(-50, 50, SILENCE).astype(np.int16)
    sounds = {
        "meeting.wav": np.concatenate([speech(25.0), room, speech(25.0, start=40.0)]),
        "room.wav": np.tile(room, 4),
    }
    items = [
        {
            "item_id": name,
            "audio": f"sounds/{write_sound(archive.sounds / name, samples)}",
            "question": "What?",
        }
        for name, samples in sounds.items()
    ]
    job = Job(archive.folder)
    job.write(items, archive.model, pruning={"method": "none"})
    return job


def test_answers_are_at_the_recordings_seconds_and_name_a_recording_without_speech(asked):
    assert launch(asked.config, f"output.path={asked.folder / 'whole'}").code == 0
    whole = Job(asked.folder, "whole").rows("ok")["meeting.wav"]
    assert launch(asked.config, OPTIONS[0], "output.max_failed_fraction=1").code == 0
    row = asked.rows("ok")["meeting.wav"]
    assert row["audio_seconds"] == whole["audio_seconds"] == 70.0
    assert row["num_audio_tokens"] == pytest.approx(51 * 25, abs=40)  # margins, and pauses in the speech
    assert row["tflops_encode"] == pytest.approx(whole["tflops_encode"] * 2 / 3)
    parts = [(part["start"], part["end"]) for part in row["timeline"]]
    assert parts[-1][1] == pytest.approx(70.0, abs=1)
    assert not [part for part in parts if part[1] > 26 and part[0] < 44]
    failed = asked.rows("failed")["room.wav"]
    assert failed["error_type"] == "AudioWithoutSpeech"
    assert "no speech was found in 80.0 s" in failed["error"]
    result = launch(asked.config)
    assert result.code == 2
    assert "encoding.skip_silence is False, but the answers" in result.lines[-1]


def test_an_index_without_silence_is_no_index_with_it(archive, asked):
    assert launch(archive.config, *OPTIONS, job=NIGHT).code == 0
    assert len(storage.folders_in(archive.index)) == 1
    rows = {}
    for row in rows_of(archive.index):
        rows.setdefault(row["recording"].rpartition("/")[2], []).append(row)
    for recording, seconds in (("meeting.wav", 70.0), ("room.wav", 80.0)):
        spans = [(row["start_seconds"], row["end_seconds"]) for row in rows[recording]]
        assert spans[0][0] == 0
        assert spans[-1][1] == seconds
        assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    times = np.concatenate([np.frombuffer(row["token_times"]).reshape(-1, 2) for row in rows["meeting.wav"]])
    assert (np.diff(times[:, 0]) > 0).all()
    assert not ((times[:, 1] > 26) & (times[:, 0] < 44)).any()
    indexed = (f"input.index={archive.index}", "output.max_failed_fraction=1")
    result = launch(asked.config, *indexed)
    assert result.code == 2
    assert "-speech), not of" in result.lines[-1]
    assert launch(asked.config, *indexed, OPTIONS[0]).code == 0
    assert asked.rows("ok")["meeting.wav"]["audio_seconds"] == 70.0
    assert asked.rows("failed")["room.wav"]["error_type"] == "AudioWithoutSpeech"
