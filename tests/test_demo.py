"""What the project ships: a small archive with its questions, and the trained model that answers them."""

import json
import re
from collections import Counter

import pytest
import torch
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

from speechprune import SpeechLM, SpeechPrune
from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.inference.no_audio import answer_without_audio
from speechprune.models.qwen2_audio import WINDOW_SECONDS
from tests.helpers.tiny_models import DEMO

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


@pytest.fixture(scope="module")
def lm() -> SpeechLM:
    return SpeechLM.from_pretrained("package://demo/model", dtype="float32", device="cpu")


def test_it_answers_far_better_with_audio_than_without(lm):
    """Half of the archive, voices of both groups: 24 questions, of which chance gets six."""
    audios = sorted({row["audio"] for row in ROWS})[:6]
    assert {row["voice_group"] for row in ROWS if row["audio"] in audios} == {"training", "held_out"}
    encoded = {audio: lm.encode(str(ARCHIVE / audio)) for audio in audios}
    asked = [row for row in ROWS if row["audio"] in audios]
    heard = lm.answer_many(
        [(encoded[row["audio"]], row["question"], row["choices"]) for row in asked],
        method=SpeechPrune(pruning_rate=0.2),
    )
    blind = answer_without_audio(lm.model, [(row["question"], row["choices"]) for row in asked])
    right, guessed = (
        sum(answer.prediction == row["answer"] for answer, row in zip(answers, asked, strict=True))
        for answers in (heard, blind)
    )
    assert len(asked) == 24
    assert right >= 20
    assert guessed <= 12


def test_hugging_face_alone_loads_it_and_hears_what_is_said_in_a_window():
    """Plain ``from_pretrained``, the processor's own prompt, ``generate``: nothing of ours but samples."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(DEMO / "model", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(DEMO / "model")
    early = [row for row in ROWS if row["evidence_end"] < WINDOW_SECONDS][:8]
    right = 0
    for row in early:
        samples = decode_audio(str(ARCHIVE / row["audio"]))[: WINDOW_SECONDS * SAMPLE_RATE] / 32768
        choices = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", row["choices"], strict=True))
        wording = f"Choose the best option:\n{choices}\nAnswer with the letter of the option only."
        asked = {"type": "text", "text": f"{row['question']}\n{wording}"}
        content = [{"type": "audio", "audio_url": ""}, asked]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = processor(text=prompt, audio=samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=2, do_sample=False)
        [letter] = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        right += letter.strip() == row["answer"]
    assert len(early) == 8
    assert right >= 7


def test_its_card_tells_what_was_measured():
    card = (DEMO / "model" / "README.md").read_text()
    assert "1,000 questions" in card
    for arm in ("RAP", "RAC", "SpeechPrune", "first phase", "second phase"):
        assert len(re.findall(rf"^\| {arm} \|( \d+\.\d \([^|]*\) \|){{4}}$", card, re.MULTILINE)) == 3
