"""A synthesizer whose sentences are tones: where each one lies can be heard again in the recording."""

import re

import numpy as np

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.script import Script, ScriptQuestion, Speaker, Turn
from speechprune.benchmarks.builder.speech import Utterance, Voice, Word

TONES_HZ = (600, 1100, 1600, 2100, 2600, 3100)  # even ones female, odd ones male; the last two held out
LOUDNESS = (900, 9000, 300, 20000, 3000, 1500)
SLOT_SAMPLES = 160  # 10 ms: a whole number of periods of every tone


class Tones:
    """All words last as long as the voice's pace says; voices differ in tone and loudness."""

    voices = tuple(
        Voice(
            name=f"tone-{number}",
            gender=("female", "male")[number % 2],
            group="held_out" if number >= 4 else "training",
        )
        for number in range(len(TONES_HZ))
    )

    def reset(self) -> None:
        pass

    def speak(self, text: str, voice: Voice) -> Utterance:
        number = int(voice.name.removeprefix("tone-"))
        words = re.findall(r"\S+", text)
        seconds_per_word = 60 / voice.words_per_minute
        length = round(len(words) * seconds_per_word * SAMPLE_RATE)
        times = np.arange(length) / SAMPLE_RATE
        samples = LOUDNESS[number] * np.cos(2 * np.pi * TONES_HZ[number] * times)
        return Utterance(
            samples=samples.astype(np.int16),
            words=tuple(
                Word(text=word, start=i * seconds_per_word, end=(i + 1) * seconds_per_word)
                for i, word in enumerate(words)
            ),
        )


def heard_spans(samples: np.ndarray, voice: Voice) -> list[tuple[float, float]]:
    """Where a voice's tone sounds: seconds, to 10 ms, from the energy of that tone alone in slots of 10 ms.

    Every slot holds a whole number of periods of every tone, so another voice's tone adds nothing to it
    but where it begins or ends within the slot.
    """
    tone = TONES_HZ[int(voice.name.removeprefix("tone-"))]
    slots = np.pad(samples, (0, -len(samples) % SLOT_SAMPLES)).reshape(-1, SLOT_SAMPLES).astype(float)
    wave = np.exp(-2j * np.pi * tone * np.arange(SLOT_SAMPLES) / SAMPLE_RATE)
    amplitude = np.abs(slots @ wave)
    sounding = np.concatenate([[False], amplitude > 0.5 * amplitude.max(), [False]])
    edges = np.flatnonzero(sounding[1:] != sounding[:-1]) * SLOT_SAMPLES / SAMPLE_RATE
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def make_script(turns: list[tuple[int, list[int]]], questions: list[tuple[int, int]] = ((0, 0),)) -> Script:
    """A script from (speaker, words in each sentence) and the places of the critical facts."""
    speakers = sorted({speaker for speaker, _ in turns})
    sentences = [
        tuple(
            " ".join(f"t{turn}s{number}w{word}" for word in range(num_words))
            for number, num_words in enumerate(lengths)
        )
        for turn, (_, lengths) in enumerate(turns)
    ]
    return Script(
        scenario="meeting",
        topic="Budgets",
        subtopic="Rent",
        speakers=tuple(
            Speaker(name=f"speaker {speaker}", gender=("female", "male")[speaker % 2]) for speaker in speakers
        ),
        turns=tuple(
            Turn(speaker=f"speaker {speaker}", sentences=own)
            for (speaker, _), own in zip(turns, sentences, strict=True)
        ),
        questions=tuple(
            ScriptQuestion(
                question=f"What is said in sentence {sentence} of turn {turn}?",
                choices=("One", "Two", "Three", "Four"),
                answer="ABCD"[(turn + sentence) % 4],
                turn=turn,
                sentence=sentence,
            )
            for turn, sentence in questions
        ),
    )
