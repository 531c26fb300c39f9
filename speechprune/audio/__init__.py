"""Recordings of any format as 16 kHz mono samples."""

import numpy as np

from speechprune.audio.decode import SILENCE_PEAK, AudioSource, decode_audio
from speechprune.audio.errors import (
    AudioEmpty,
    AudioError,
    AudioNotFound,
    AudioSilent,
    AudioTooShort,
    AudioUnreadable,
    AudioWithoutSpeech,
    without_speech,
)
from speechprune.audio.length import header_seconds, recording_seconds
from speechprune.audio.pauses import split_at_pauses
from speechprune.audio.resample import SAMPLE_RATE
from speechprune.audio.speech import Speech, decode_speech

__all__ = [
    "MEL_HOP_SAMPLES",
    "SAMPLE_RATE",
    "SILENCE_PEAK",
    "AudioEmpty",
    "AudioError",
    "AudioNotFound",
    "AudioSilent",
    "AudioSource",
    "AudioTooShort",
    "AudioUnreadable",
    "AudioWithoutSpeech",
    "Speech",
    "decode_audio",
    "decode_speech",
    "header_seconds",
    "recording_seconds",
    "split_at_pauses",
    "split_windows",
    "without_speech",
]

MEL_HOP_SAMPLES = 160  # 10 ms per mel frame


def split_windows(samples: np.ndarray, window_samples: int) -> list[np.ndarray]:
    """Cut samples into consecutive windows; the last may be short. Views, no copies."""
    return [samples[i : i + window_samples] for i in range(0, len(samples), window_samples)]
