"""Spoken windows: texts, times and labels belong together, and a window is made from its number alone."""

import random

import numpy as np
import pytest
import torch

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.script import Script, ScriptQuestion, Speaker, Turn
from speechprune.benchmarks.builder.speech import Utterance, Word
from speechprune.lab.connector.config import SpeechOptions
from speechprune.lab.connector.speakers import Spoken, TimedWord, WindowSpeaker, fill_window
from speechprune.lab.connector.windows import (
    IGNORED,
    NUM_FRAMES,
    SpokenWindows,
    batches,
    frame_labels,
)
from speechprune.models.ctc import BLANK, FRAMES_PER_SECOND

SENTENCES = ("The review is on Monday.", "Laura's team leads it, as it's their plan.", "Nobody else comes.")


@pytest.fixture
def script() -> Script:
    return Script(
        scenario="meeting",
        topic="work",
        subtopic="plans",
        speakers=(Speaker(name="a", gender="female"), Speaker(name="b", gender="male")),
        turns=(Turn(speaker="a", sentences=SENTENCES[:2]), Turn(speaker="b", sentences=SENTENCES[2:])),
        questions=(
            ScriptQuestion(question="When?", choices=("Monday", "Friday"), answer="A", turn=0, sentence=0),
        ),
    )


def spoken_sentence(text: str, seconds: float) -> tuple[str, Utterance]:
    words = text.split()
    step = seconds / len(words)
    times = tuple(Word(text=w.strip(".,"), start=i * step, end=(i + 1) * step) for i, w in enumerate(words))
    return text, Utterance(samples=np.full(round(seconds * SAMPLE_RATE), 7, np.int16), words=times)


def test_words_stay_with_their_characters_and_their_sound():
    sentences = [spoken_sentence(text, 3.0) for text in ("One two.", "Two two, three.", "Four.")]
    spoken = fill_window(sentences, random.Random(1))
    assert spoken.text == "One two. Two two, three. Four."
    assert [spoken.text[w.first : w.end] for w in spoken.words] == [
        "One",
        "two",
        "Two",
        "two",
        "three",
        "Four",
    ]
    for word in spoken.words:
        sound = spoken.samples[
            round(word.start_seconds * SAMPLE_RATE) : round(word.end_seconds * SAMPLE_RATE)
        ]
        assert (sound == 7).all()


def test_a_window_ends_before_the_sentence_that_does_not_fit():
    spoken = fill_window([spoken_sentence("Long.", 14.0)] * 3, random.Random(1))
    assert spoken.text == "Long. Long."
    assert len(spoken.samples) == 30 * SAMPLE_RATE


def test_a_frame_has_the_class_of_the_token_that_is_spoken_there():
    spoken = Spoken(np.zeros(0), "Ab cd!", [TimedWord(0, 2, 1.0, 2.0), TimedWord(3, 5, 4.0, 4.8)])
    labels = frame_labels(spoken, [5, 6, 7, 8], [(0, 1), (1, 2), (2, 5), (5, 6)])
    middles = (np.arange(NUM_FRAMES) + 0.5) / FRAMES_PER_SECOND
    spans = [(5, 1.0, 1.5), (6, 1.5, 2.0), (7, 4.0, 4.8)]  # the exclamation mark has no sound
    inside = [next((c for c, begin, end in spans if begin <= at < end), BLANK) for at in middles]
    assert (labels.numpy() != inside).sum() <= 2  # a frame's middle lies on a boundary
    assert set(labels.tolist()) == {BLANK, 5, 6, 7}


def test_without_times_no_frame_is_labelled():
    assert (frame_labels(Spoken(np.zeros(0), "a", []), [1], [(0, 1)]) == IGNORED).all()


@pytest.fixture
def parts(tiny_cascade_parts):
    extractor, tokenizer = tiny_cascade_parts
    class_of = torch.arange(len(tokenizer)) + 1
    return extractor, tokenizer, class_of


def test_a_window_depends_on_its_number_alone(script, parts):
    pytest.importorskip("espeakng_loader")
    extractor, tokenizer, class_of = parts
    windows = SpokenWindows([script], SpeechOptions(texts=()), extractor, tokenizer, class_of, seed=0)
    first, second, again = windows[3], windows[4], windows[3]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[2] == again[2]
    assert not torch.equal(first[0], second[0])
    text = tokenizer.decode([place - 1 for place in first[2]])
    assert any(text.startswith(sentence[:10]) for sentence in SENTENCES)
    [batch] = batches(windows, first_step=2, num_steps=3, size=2)
    assert torch.equal(batch.features[0], second[0])
    assert batch.targets[: batch.target_lengths[0]].tolist() == second[2]


def test_voices_of_a_group_alone_speak(script):
    pytest.importorskip("espeakng_loader")
    speaker = WindowSpeaker([script], Espeak(), "held_out", SpeechOptions(texts=()))
    assert {voice.group for voice in speaker.voices} == {"held_out"}
    assert speaker.speak(random.Random(0)).words
