"""What the project ships: a small archive with its questions, and a folder of a model without weights."""

import json
from collections import Counter

import pytest
from tiny_models import DEMO

from speechprune.audio import SAMPLE_RATE, decode_audio

ARCHIVE = DEMO / "archive"
ROWS = [json.loads(line) for line in (ARCHIVE / "manifest.jsonl").read_text().splitlines()]
MAX_MODEL_BYTES, MAX_ARCHIVE_BYTES = 10_500_000, 5_000_000


def size_of(folder) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_dozen_recordings_with_several_questions_each_and_no_letter_preferred():
    assert len({row["audio"] for row in ROWS}) == 12
    assert set(Counter(row["audio"] for row in ROWS).values()) == {4}
    assert Counter(row["answer"] for row in ROWS) == dict.fromkeys("ABCD", 12)
    assert Counter(row["voice_group"] for row in ROWS) == {"training": 24, "held_out": 24}


def test_it_is_small_enough_to_ship():
    assert size_of(DEMO / "model") < MAX_MODEL_BYTES
    assert size_of(ARCHIVE) < MAX_ARCHIVE_BYTES


@pytest.mark.parametrize("audio", sorted({row["audio"] for row in ROWS}))
def test_recordings_last_ninety_seconds_and_hold_their_facts(audio):
    seconds = len(decode_audio(str(ARCHIVE / audio))) / SAMPLE_RATE
    assert 84 < seconds < 96
    for row in ROWS:
        if row["audio"] == audio:
            assert 0 <= row["evidence_start"] < row["evidence_end"] <= seconds
