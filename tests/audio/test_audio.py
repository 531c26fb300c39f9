"""Decoding, against other decoders: real files of every format, and signals known exactly."""

import io
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.audio import (
    SAMPLE_RATE,
    AudioEmpty,
    decode_audio,
    split_windows,
)
from tests.helpers.audio_files import EDGE_SAMPLES, ENCODERS, encode

ROOT = Path(__file__).parents[2]
SHARED_FILES = [
    "ami_ES2011a_headset.wav",
    "common_voice.mp3",
    "curator1.opus",
    "jfk.flac",
    "libri_8ch_reverb.wav",
    "ljspeech.wav",
    "multilingual.mp3",
    "nasa.mp4",
    "stereo.opus",
    "stereo.sph",
]
READABLE_BY_SOUNDFILE = [name for name in SHARED_FILES if not name.endswith((".mp4", ".mp3"))]


def decode_with_ffmpeg(path: Path) -> np.ndarray:
    """All channels by FFmpeg's own decoder and resampler, float in [-1, 1], (samples, channels)."""
    with av.open(path) as container:
        stream = container.streams.best("audio")
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=SAMPLE_RATE)
        frames = [f for frame in container.decode(stream) for f in resampler.resample(frame)]
        return np.concatenate([f.to_ndarray() for f in [*frames, *resampler.resample(None)]], axis=1).T


def assert_same_sound(
    samples: np.ndarray, expected: np.ndarray, correlation: float, tolerance: float
) -> None:
    """Equal in time and level, edges apart: ``expected`` is float in [-1, 1]."""
    assert abs(len(samples) - len(expected)) <= 16
    length = min(len(samples), len(expected))
    inner = slice(EDGE_SAMPLES, length - EDGE_SAMPLES)
    ours, theirs = samples[inner] / 32768, expected[inner]
    assert np.corrcoef(ours, theirs)[0, 1] > correlation
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < tolerance * np.sqrt(np.mean(theirs**2))


# Real files, against independent decoders


@pytest.mark.parametrize("name", SHARED_FILES)
def test_real_files_sound_as_ffmpegs_own_resampler_has_them(shared_audio, name):
    samples = decode_audio(shared_audio / name)
    assert samples.dtype == np.int16
    expected = decode_with_ffmpeg(shared_audio / name).mean(axis=1)
    # two resamplers differ in the last few hundred hertz below Nyquist
    assert_same_sound(samples, expected, correlation=0.998, tolerance=0.06)


@pytest.mark.parametrize("name", READABLE_BY_SOUNDFILE)
def test_real_files_sound_as_libsndfile_has_them(shared_audio, name):
    channels, rate = soundfile.read(shared_audio / name, always_2d=True)
    expected = soxr.resample(channels.mean(axis=1), rate, SAMPLE_RATE)
    assert_same_sound(decode_audio(shared_audio / name), expected, correlation=0.998, tolerance=0.06)


# Slices


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    ("start", "end"), [(1.0, 2.0), (3.317, 5.006), (7.25, None), (None, 4.0), (0.4, 0.6)]
)
def test_a_slice_is_that_part_of_the_whole(encoded, name, start, end):
    whole = decode_audio(encoded[name])
    part = decode_audio(encoded[name], start=start, end=end)
    expected = whole[round((start or 0) * SAMPLE_RATE) : None if end is None else round(end * SAMPLE_RATE)]
    assert len(part) == len(expected)
    # FFmpeg's AAC decoder fills noisy bands from a generator that a seek does not restore
    tolerance = 0.02 if name in ("m4a", "aac") else 0.001
    assert_same_sound(part, expected / 32768, correlation=0.9998, tolerance=tolerance)


@pytest.mark.parametrize("name", SHARED_FILES)
def test_a_slice_of_a_real_file_is_that_part_of_the_whole(shared_audio, name):
    whole = decode_audio(shared_audio / name)
    seconds = len(whole) / SAMPLE_RATE
    start, end = round(0.3 * seconds, 3), round(0.8 * seconds, 3)
    part = decode_audio(shared_audio / name, start=start, end=end)
    expected = whole[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    # cut before resampling: up to half a sample of the file's own rate away from the other cut
    assert_same_sound(part, expected / 32768, correlation=0.998, tolerance=0.06)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_start_beyond_the_end_is_named(encoded, name):
    with pytest.raises(AudioEmpty, match=r"between 12\.5 s and its end: check .* start"):
        decode_audio(encoded[name], start=12.5)
    with pytest.raises(AudioEmpty, match="between 5 s and 5 s"):
        decode_audio(encoded[name], start=5, end=5)


class CountingFile(io.BytesIO):
    """A file that knows how many of its bytes were read."""

    num_bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.num_bytes_read += len(data)
        return data


@pytest.mark.parametrize(
    ("name", "share"),
    [("wav", 0.2), ("flac", 0.5), ("m4a", 0.2), ("opus", 0.5), ("mp3", 0.5)],  # read up to there
)
def test_a_slice_reads_only_a_small_share_of_the_file(speech, name, share):
    """5 s of 150 are 3 %; the rest is a constant for headers, the search for the place and read-ahead."""
    data = encode(speech(150), name)
    file = CountingFile(data)
    samples = decode_audio(file, start=50, end=55)
    assert len(samples) == 5 * SAMPLE_RATE
    assert 0.03 * len(data) < file.num_bytes_read < share * len(data)


# Signals known exactly

SAMPLE_FORMATS = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]


def tone(rate: int, num_channels: int, num_samples: int, frequency: float, amplitude: float) -> np.ndarray:
    """One sine with another share in every channel, their mean amplitude as given; (samples, channels)."""
    shares = np.arange(1, num_channels + 1) * 2 / (num_channels + 1)
    wave = amplitude * np.sin(2 * np.pi * frequency * np.arange(num_samples) / rate)
    return wave[:, None] * shares


@settings(max_examples=60)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]),
    num_channels=st.sampled_from([1, 2, 3, 6, 8]),
    sample_format=st.sampled_from(SAMPLE_FORMATS),
    seconds=st.floats(0.5, 1.5),
    frequency=st.floats(100, 3_000),
    amplitude=st.floats(0.1, 0.5),
)
def test_a_sine_comes_back_in_length_frequency_and_level(
    rate, num_channels, sample_format, seconds, frequency, amplitude
):
    num_samples = round(seconds * rate)
    channels = tone(rate, num_channels, num_samples, frequency, amplitude)
    file = io.BytesIO()
    soundfile.write(file, channels, rate, format="WAV", subtype=sample_format)

    samples = decode_audio(file.getvalue())

    assert abs(len(samples) - num_samples * SAMPLE_RATE / rate) <= 1
    expected = amplitude * np.sin(2 * np.pi * frequency * np.arange(len(samples)) / SAMPLE_RATE)
    inner = slice(EDGE_SAMPLES, -EDGE_SAMPLES)
    tolerance = 0.02 if sample_format == "PCM_U8" else 0.002 * amplitude + 2**-14
    np.testing.assert_allclose(samples[inner] / 32768, expected[inner], atol=tolerance)


def test_eight_microphones_are_their_plain_mean(speech):
    """FFmpeg's own downmix of eight channels would weigh some of them by 0.7 and drop one."""
    channels = np.stack([speech(1, start=10 * i) for i in range(8)], axis=1)
    file = io.BytesIO()
    soundfile.write(file, channels, SAMPLE_RATE, format="WAV")
    np.testing.assert_allclose(decode_audio(file.getvalue()), channels.mean(axis=1), atol=0.51)


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64"]),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
    num_channels=st.sampled_from([None, 1, 2, 5]),
    channels_first=st.booleans(),
)
def test_a_waveform_of_any_type_and_shape_is_taken(dtype, rate, num_channels, channels_first):
    values = tone(rate, num_channels or 1, rate, 440, 0.3)
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        full_scale = 2.0 ** (info.bits - 1)
        values = np.clip(values * full_scale + (full_scale if info.min == 0 else 0), info.min, info.max)
    waveform = values.astype(dtype)
    waveform = waveform[:, 0] if num_channels is None else waveform.T if channels_first else waveform
    samples = decode_audio((waveform, rate))
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    inner = slice(EDGE_SAMPLES, -EDGE_SAMPLES)
    np.testing.assert_allclose(
        samples[inner] / 32768, expected[inner], atol=0.02 if dtype == "uint8" else 0.001
    )


def test_path_bytes_file_and_waveform_give_the_same(tmp_path, speech):
    samples = speech(3)
    path = tmp_path / "recording.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    for source in (
        path,
        str(path),
        f"file://{path}",
        path.read_bytes(),
        path.open("rb"),
        (samples, SAMPLE_RATE),
    ):
        np.testing.assert_array_equal(decode_audio(source), samples)
        np.testing.assert_array_equal(
            decode_audio(source, start=1, end=2.5), samples[SAMPLE_RATE : SAMPLE_RATE * 5 // 2]
        )


def test_floats_that_are_no_sound_are_not_passed_on():
    """A few flipped bits make a float32 sample infinite, not a number, or 10³⁸."""
    values = tone(44_100, 1, 44_100, 440, 0.3)[:, 0]
    values[::100] = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e300, 0.1] * 63
    samples = decode_audio((values, 44_100))
    assert len(samples) == SAMPLE_RATE
    assert np.abs(samples.astype(float)).max() > 1_000


@given(num_samples=st.integers(1, 20_000), window_samples=st.integers(1, 5_000))
def test_windows_are_consecutive_and_lose_nothing(num_samples, window_samples):
    samples = np.arange(num_samples, dtype=np.int32)
    windows = split_windows(samples, window_samples)
    assert all(len(window) == window_samples for window in windows[:-1])
    np.testing.assert_array_equal(np.concatenate(windows), samples)


# Memory

MEMORY_ALLOWANCE_BYTES = 20e6  # beyond the samples: FFmpeg's buffers, the resampler, one decoded frame
MEASURE_MEMORY = """
import json, sys, types
package = types.ModuleType("speechprune")  # without its __init__, which would import torch
package.__path__ = [sys.argv[1]]
sys.modules["speechprune"] = package
import av, soxr, speechprune.storage
from speechprune.audio import decode_audio

def memory_bytes(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key + ":"))

idle = memory_bytes("VmRSS")
samples = decode_audio(sys.argv[2])
print(json.dumps({"samples": len(samples), "peak_bytes": memory_bytes("VmHWM") - idle}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from /proc")
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_a_long_recording_takes_the_memory_of_its_samples(tmp_path, speech, rate):
    """Half an hour is 58 MB of samples: a second copy of them, however short-lived, would be seen."""
    minute = speech(60)[:: SAMPLE_RATE // rate]
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", samplerate=rate, channels=1, subtype="PCM_16") as file:
        for _ in range(30):
            file.write(minute)
    output = subprocess.run(
        [sys.executable, "-c", MEASURE_MEMORY, str(ROOT / "speechprune"), str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    measured = json.loads(output)
    assert measured["samples"] == 1800 * SAMPLE_RATE
    assert measured["peak_bytes"] < 2 * measured["samples"] + MEMORY_ALLOWANCE_BYTES
