"""What every synthesizer but our own needs: voices listed in a config, and utterances cut from raw sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from speechprune.audio import SAMPLE_RATE, AudioSource, decode_audio
from speechprune.benchmarks.builder.script import Gender
from speechprune.benchmarks.builder.speech import Utterance, Voice

SILENCE_DECIBELS = -40.0  # below an utterance's peak
EDGE_SAMPLES = round(0.010 * SAMPLE_RATE)  # left at either end: consonants begin and fade softly


def parse_voices(entries: Sequence[str]) -> tuple[Voice, ...]:
    """Read voices of the form ``name:female`` or ``name:male``.

    Raises
    ------
    ValueError
        An entry has no such form, or a name stands twice.
    """
    genders: dict[str, Gender] = {gender: gender for gender in get_args(Gender)}
    voices: dict[str, Voice] = {}
    for entry in entries:
        name, _, gender = entry.rpartition(":")
        if not name or gender not in genders:
            raise ValueError(f"voices: {entry!r} is not of the form name:female or name:male")
        if name in voices:
            raise ValueError(f"voices: {name!r} stands twice")
        voices[name] = Voice(name=name, gender=genders[gender])
    return tuple(voices.values())


def to_utterance(source: AudioSource) -> Utterance:
    """Decode a synthesizer's sound to 16 kHz mono and cut the silence at both ends.

    Raises
    ------
    speechprune.audio.AudioError
        It is no sound, or silent.
    """
    samples = decode_audio(source)
    begin, end = sound_span(samples)
    return Utterance(samples=samples[begin:end])


def sound_span(samples: np.ndarray) -> tuple[int, int]:
    """Return begin and end of all that is not quieter than ``SILENCE_DECIBELS`` below the peak.

    ``EDGE_SAMPLES`` more are left at either end.

    Parameters
    ----------
    samples
        int16, 16 kHz, shape ``(num_samples,)``; not empty.
    """
    level = np.abs(samples.astype(np.int32))
    loud = np.flatnonzero(level > level.max() * 10 ** (SILENCE_DECIBELS / 20))
    return max(0, int(loud[0]) - EDGE_SAMPLES), min(len(samples), int(loud[-1]) + 1 + EDGE_SAMPLES)
