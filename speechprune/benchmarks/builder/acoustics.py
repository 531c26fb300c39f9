"""Acoustic degradation of a recording by room, noise and telephone line, without a shift in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from speechprune.audio import SAMPLE_RATE

Noise = Literal["white", "pink", "speech_shaped"]

FULL_SCALE = 32767
FRAME_SAMPLES = 320  # 20 ms
ACTIVE_RANGE_DB = 40  # frames this far below the loudest are pauses
DIRECT_TO_REVERBERANT_DB = 0.0  # as loud as the room: a microphone at the critical distance
PINK_TAPS = 4096  # 1/f down to 4 Hz
SPEECH_SPECTRUM_SAMPLES = 512
MAX_SPECTRUM_FRAMES = 4000  # of a long recording: its average needs no more
TELEPHONE_BAND_HZ = (300, 3400)
TELEPHONE_TAPS = 513
MU = 255  # of the mu-law


@dataclass(frozen=True, kw_only=True)
class AcousticOptions:
    """Acoustic conditions of a recording; by default it stays clean.

    Parameters
    ----------
    snr_db
        Speech over noise in decibels, both measured in frames with speech: the 20 ms frames
        within 40 dB of the loudest. Default: no noise.
    noise
        ``white``, ``pink`` (1/f) or ``speech_shaped`` (the average spectrum of the recording itself).
    reverberation_seconds
        Time in which the sound of a room falls by 60 dB (RT60), at the distance where the room is as
        loud as the speaker. Default: no room.
    telephone
        Through a telephone line: 300 to 3,400 Hz, 8 kHz, 8-bit mu-law.
    """

    snr_db: float | None = None
    noise: Noise = "speech_shaped"
    reverberation_seconds: float | None = None
    telephone: bool = False

    def __post_init__(self) -> None:
        if self.snr_db is not None and not -30 <= self.snr_db <= 90:
            raise ValueError(f"snr_db is {self.snr_db}: give decibels from -30 to 90, or null for no noise")
        if self.reverberation_seconds is not None and not 0.05 <= self.reverberation_seconds <= 10:
            raise ValueError(
                f"reverberation_seconds is {self.reverberation_seconds}: give 0.05 to 10, or null for no room"
            )


def degrade(samples: np.ndarray, options: AcousticOptions, seed: int) -> np.ndarray:
    """Degrade a recording: first the room, then noise, then the telephone line.

    Times stay the same to the sample, so spans and word times remain valid.

    Parameters
    ----------
    samples
        int16, 16 kHz mono, shape ``(num_samples,)``.
    options
        Conditions to apply.
    seed
        Seed of the noise and of the room.

    Returns
    -------
    numpy.ndarray
        int16, same length; scaled down if it would clip.
    """
    clean = AcousticOptions(noise=options.noise)
    if options == clean or not samples.any():  # silence has no level that noise could be set against
        return samples
    rng = np.random.default_rng(seed)
    sound = samples.astype(np.float32)
    if options.reverberation_seconds is not None:
        sound = _convolve(sound, room_response(options.reverberation_seconds, rng))
    if options.snr_db is not None:
        sound += _noise(sound, options.noise, options.snr_db, rng)
    if options.telephone:
        sound = _telephone(_within_full_scale(sound))
    return np.rint(_within_full_scale(sound)).astype(np.int16)


def room_response(reverberation_seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a synthetic room: h(t) = δ(t) + a·n(t)·10^(−3t/RT60), n white, down to −60 dB.

    ``a`` makes the tail's energy that of the direct sound (`DIRECT_TO_REVERBERANT_DB`). The direct sound is
    sample 0. float32, shape ``(RT60 · 16,000,)``.
    """
    times = np.arange(1, round(reverberation_seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / reverberation_seconds)
    tail *= 10 ** (-DIRECT_TO_REVERBERANT_DB / 20) / math.sqrt(np.square(tail).sum())
    return np.concatenate([[1.0], tail]).astype(np.float32)


def _noise(sound: np.ndarray, kind: Noise, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of a kind at SNR = 10·lg(P_speech / P_noise), P the mean power over frames with speech."""
    kernel = _noise_kernel(sound, kind)
    white = rng.standard_normal(len(sound) + 2 * len(kernel), dtype=np.float32)
    noise = _convolve(white, kernel)[len(kernel) : len(kernel) + len(sound)]  # without its onset
    speech_powers, noise_powers = _frame_powers(sound), _frame_powers(noise)
    active = speech_powers >= speech_powers.max() * 10 ** (-ACTIVE_RANGE_DB / 10)
    ratio = float(speech_powers[active].mean() / noise_powers[active].mean())
    noise *= math.sqrt(ratio * 10 ** (-snr_db / 10))
    return noise


def _noise_kernel(sound: np.ndarray, kind: Noise) -> np.ndarray:
    """Filter that gives white noise its spectrum."""
    if kind == "white":
        return np.ones(1, dtype=np.float32)
    if kind == "pink":
        magnitudes = np.zeros(PINK_TAPS // 2 + 1)
        magnitudes[1:] = np.arange(1, len(magnitudes)) ** -0.5
    else:
        magnitudes = np.sqrt(_average_spectrum(sound))
    kernel = np.fft.fftshift(np.fft.irfft(magnitudes))
    return (kernel * np.hanning(len(kernel))).astype(np.float32)


def _average_spectrum(sound: np.ndarray) -> np.ndarray:
    """Mean power spectrum, shape ``(SPEECH_SPECTRUM_SAMPLES // 2 + 1,)``."""
    size = SPEECH_SPECTRUM_SAMPLES
    frames = np.pad(sound, (0, -len(sound) % size)).reshape(-1, size)
    frames = frames[:: math.ceil(len(frames) / MAX_SPECTRUM_FRAMES)]
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(size)))).mean(axis=0)


def _frame_powers(sound: np.ndarray) -> np.ndarray:
    """Mean power of each frame of 20 ms; what the last one lacks counts as silence."""
    frames = np.pad(sound, (0, -len(sound) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    return np.einsum("fs,fs->f", frames, frames) / FRAME_SAMPLES


def _telephone(sound: np.ndarray) -> np.ndarray:
    """Band-pass, 8 kHz, mu-law of 8 bits (as G.711, in its continuous form), and back to 16 kHz."""
    band_pass = _band_pass_kernel()
    centre = len(band_pass) // 2
    narrow = _convolve(sound, band_pass, centre)[::2] / FULL_SCALE
    companded = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / math.log1p(MU)
    sent = np.rint(np.clip(companded, -1, 1) * 127) / 127
    expanded = np.sign(sent) * np.expm1(np.abs(sent) * math.log1p(MU)) / MU
    wide = np.zeros_like(sound)
    wide[::2] = 2 * FULL_SCALE * expanded  # a zero between any two halves the level
    return _convolve(wide, band_pass, centre)


def _band_pass_kernel() -> np.ndarray:
    """Windowed sinc of `TELEPHONE_BAND_HZ`, symmetrical: no delay about its centre."""
    times = np.arange(TELEPHONE_TAPS) - TELEPHONE_TAPS // 2
    low, high = (2 * edge / SAMPLE_RATE for edge in TELEPHONE_BAND_HZ)
    ideal = high * np.sinc(high * times) - low * np.sinc(low * times)
    return (ideal * np.hamming(TELEPHONE_TAPS)).astype(np.float32)


def _convolve(sound: np.ndarray, kernel: np.ndarray, centre: int = 0) -> np.ndarray:
    """`sound` through a filter whose tap number `centre` is time zero, at the same length; by overlap-add."""
    size = 1 << max(15, (4 * len(kernel)).bit_length())
    step = size - len(kernel) + 1
    spectrum = np.fft.rfft(kernel, size)
    result = np.zeros(len(sound) + len(kernel) - 1, dtype=np.float32)
    for start in range(0, len(sound), step):
        block = sound[start : start + step]
        length = len(block) + len(kernel) - 1
        result[start : start + length] += np.fft.irfft(np.fft.rfft(block, size) * spectrum, size)[:length]
    return result[centre : centre + len(sound)]


def _within_full_scale(sound: np.ndarray) -> np.ndarray:
    peak = max(float(sound.max()), -float(sound.min()))
    return sound * np.float32(FULL_SCALE / peak) if peak > FULL_SCALE else sound
