"""What the project ships: a small archive with its questions, and a model that answers them."""

import json
from collections import Counter

import pytest
from tiny_models import DEMO
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

from speechprune import SpeechLM
from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.no_audio import answer_without_audio

ARCHIVE = DEMO / "archive"
ROWS = [json.loads(line) for line in (ARCHIVE / "manifest.jsonl").read_text().splitlines()]
MAX_MODEL_BYTES, MAX_ARCHIVE_BYTES = 10_500_000, 5_000_000


@pytest.fixture(scope="module")
def demo_lm() -> SpeechLM:
    return SpeechLM.from_pretrained(str(DEMO / "model"), dtype="float32", device="cpu")


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


def test_the_model_loads_with_plain_from_pretrained_and_has_a_measured_card():
    model, info = Qwen2AudioForConditionalGeneration.from_pretrained(DEMO / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert (
        AutoProcessor.from_pretrained(DEMO / "model").tokenizer.vocab_size
        == model.config.text_config.vocab_size
    )
    card = (DEMO / "model" / "README.md").read_text()
    assert "SpeechPrune against RAP" in card, "python jobs/measure_demo_model.py writes the tables"


def test_it_hears_what_it_answers(demo_lm):
    """Of one seen and one unseen group of voices: far more right than without the audio."""
    audios = [
        next(row["audio"] for row in ROWS if row["voice_group"] == group)
        for group in ("training", "held_out")
    ]
    rows = [row for row in ROWS if row["audio"] in audios]
    encoded = {audio: demo_lm.encode(str(ARCHIVE / audio)) for audio in audios}
    answers = demo_lm.answer_many([(encoded[r["audio"]], r["question"], r["choices"]) for r in rows])
    right = sum(a.prediction == r["answer"] for a, r in zip(answers, rows, strict=True))
    assert right >= 6, "of eight; two are right by chance"


def test_it_knows_nothing_without_listening(demo_lm):
    answers = answer_without_audio(demo_lm.model, [(row["question"], row["choices"]) for row in ROWS])
    right = sum(a.prediction == row["answer"] for a, row in zip(answers, ROWS, strict=True))
    assert right <= 20, "of 48; twelve are right by chance, more than twenty once in a hundred times"
