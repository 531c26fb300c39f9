"""Interface of all sources of speech: voices, and a sentence spoken by one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from speechprune.benchmarks.builder.script import Gender

WORD_PATTERN = re.compile(r"\w+(?:['’]\w+)*")


class SpeechError(RuntimeError):
    """A sentence that could not be spoken; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A voice of a source of speech.

    Parameters
    ----------
    name
        Name of the voice in its source.
    gender
        Speakers get voices of their gender.
    group
        ``training`` or ``held_out``: so that a model can be tested on unseen voices.
    words_per_minute, pitch
        Where the source can set them; pitch from 0 to 99, 50 is the voice's own.
    """

    name: str
    gender: Gender
    group: str = "training"
    words_per_minute: int = 165
    pitch: int = 50


@dataclass(frozen=True, kw_only=True)
class Word:
    """A spoken word and its seconds from the beginning of the utterance (or of the recording)."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One spoken sentence.

    Parameters
    ----------
    samples
        int16, 16 kHz mono, shape ``(num_samples,)``; no silence to speak of at either end.
    words
        Word times where the source gives them; else empty.
    phonemes
        The sounds it is made of, likewise; a pause is a sound without a name.
    """

    samples: np.ndarray
    words: tuple[Word, ...] = ()
    phonemes: tuple[Word, ...] = ()


class Synthesizer(Protocol):
    """A source of speech."""

    @property
    def voices(self) -> Sequence[Voice]:
        """All voices, of both genders."""
        ...

    def reset(self) -> None:
        """Reset all state before each recording, so that the same recording can be made again."""
        ...

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence.

        Raises
        ------
        SpeechError
            It can't be spoken.
        """
        ...
