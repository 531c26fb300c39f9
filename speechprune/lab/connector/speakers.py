"""Windows of speech: consecutive sentences of a script, with the times of their words."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.script import Script
from speechprune.benchmarks.builder.speech import SpeechError, Synthesizer, Utterance, Voice
from speechprune.benchmarks.builder.spiral_texts import read_spiral_scripts
from speechprune.lab.connector.config import SpeechOptions

HELD_OUT_EVERY = 5
WINDOW_SECONDS = 30
MIN_PAUSE, MAX_PAUSE = 0.1, 0.9  # seconds between sentences
MIN_PITCH, MAX_PITCH = 35, 65  # where an engine can set it; 50 is the voice's own


class TimedWord(NamedTuple):
    """A word: its characters in the window's text, and its seconds in the window."""

    first: int
    end: int
    start_seconds: float
    end_seconds: float


class Spoken(NamedTuple):
    """A window and its text."""

    samples: np.ndarray  # int16 at 16 kHz, at most 30 s
    text: str
    words: list[TimedWord]  # empty where the engine gives no times


def load_scripts(texts: Sequence[str]) -> tuple[list[Script], list[Script]]:
    """Scripts to train on, and those held out: every fifth item, unless another item has its text."""
    scripts = [script for path in texts for _, script in read_spiral_scripts(path)]
    training = [script for i, script in enumerate(scripts) if i % HELD_OUT_EVERY]
    trained_texts = {text_of(script) for script in training}
    return training, [script for script in scripts[::HELD_OUT_EVERY] if text_of(script) not in trained_texts]


def text_of(script: Script) -> str:
    """The script's sentences, one behind another."""
    return " ".join(text for _, text in sentences_of(script))


def sentences_of(script: Script) -> list[tuple[str, str]]:
    """Speaker and text of every sentence."""
    return [(turn.speaker, sentence) for turn in script.turns for sentence in turn.sentences]


class WindowSpeaker:
    """Speaks windows of consecutive sentences, one voice a speaker.

    - ``scripts``: what is spoken.
    - ``source``: who speaks.
    - ``group``: of the voices, ``training`` or ``held_out``.
    """

    def __init__(
        self, scripts: Sequence[Script], source: Synthesizer, group: str, options: SpeechOptions
    ) -> None:
        self._scripts, self._source, self._options = scripts, source, options
        self.voices = [voice for voice in source.voices if voice.group == group]

    def speak(self, rng: random.Random) -> Spoken:
        """Speak sentences of a random script, from a random one on, until the window is full."""
        script = rng.choice(self._scripts)
        voices = self._voices(script, rng)
        pieces = sentences_of(script)
        return self._fill(pieces[rng.randrange(len(pieces)) :], voices, rng)

    def say(self, script: Script, pieces: Sequence[tuple[str, str]], rng: random.Random) -> Spoken:
        """Speak some sentences of a script, until the window is full."""
        return self._fill(pieces, self._voices(script, rng), rng)

    def _fill(
        self, pieces: Sequence[tuple[str, str]], voices: dict[str, Voice], rng: random.Random
    ) -> Spoken:
        self._source.reset()
        return fill_window(((text, self._speak(text, voices[who])) for who, text in pieces), rng)

    def _voices(self, script: Script, rng: random.Random) -> dict[str, Voice]:
        return {speaker.name: self._voice(speaker.gender, rng) for speaker in script.speakers}

    def _voice(self, gender: str, rng: random.Random) -> Voice:
        voice = rng.choice([voice for voice in self.voices if voice.gender == gender])
        pace = rng.randint(self._options.min_words_per_minute, self._options.max_words_per_minute)
        return replace(voice, words_per_minute=pace, pitch=rng.randint(MIN_PITCH, MAX_PITCH))

    def _speak(self, text: str, voice: Voice) -> Utterance:
        try:
            return self._source.speak(text, voice)
        except SpeechError:
            return Utterance(samples=np.zeros(0, np.int16))  # a sentence without a sound, such as "..."


def fill_window(sentences: Iterable[tuple[str, Utterance]], rng: random.Random) -> Spoken:
    """Lay sentences one behind another, with pauses, until the next doesn't fit."""
    sound = np.zeros(WINDOW_SECONDS * SAMPLE_RATE, np.int16)
    text, place = "", 0
    words: list[TimedWord] = []
    for sentence, utterance in sentences:
        begin = place + round(rng.uniform(MIN_PAUSE, MAX_PAUSE) * SAMPLE_RATE)
        if begin + len(utterance.samples) > len(sound):
            break
        if not len(utterance.samples):
            continue
        place = begin + len(utterance.samples)
        sound[begin:place] = utterance.samples
        text += " " * bool(text)
        at = 0
        for word in utterance.words:
            at = sentence.index(word.text, at)
            shift = begin / SAMPLE_RATE
            first, end = len(text) + at, len(text) + at + len(word.text)
            words.append(TimedWord(first, end, shift + word.start, shift + word.end))
            at += len(word.text)
        text += sentence
    return Spoken(sound, text, words)
