"""Silence left out of a recording: what is kept, where it lies, and at which second a token of it is."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE, AudioWithoutSpeech, Speech, decode_audio, decode_speech
from speechprune.audio import speech as module
from speechprune.audio.speech import CHUNK_SAMPLES, keep_stretches, speech_stretches
from speechprune.config import ConfigError
from speechprune.inference.encode import cut_windows
from speechprune.inference.encoding_options import EncodingOptions

TOKEN_SECONDS = 0.04
CLICK = 30_000


@st.composite
def recordings(draw) -> tuple[np.ndarray, list[tuple[int, int]], int]:
    """Sound with a click in one of its stretches of speech, those stretches, and the click's sample."""
    lengths = draw(
        st.lists(st.tuples(st.integers(1, 40_000), st.integers(600, 60_000)), min_size=1, max_size=6)
    )
    edges = np.cumsum(lengths).reshape(-1, 2).tolist()
    begin, end = draw(st.sampled_from(edges))
    click = draw(st.integers(begin, end - 1))
    noise = np.random.default_rng(len(edges)).integers(-300, 300, edges[-1][1] + draw(st.integers(0, 9_000)))
    samples = noise.astype(np.int16)
    samples[click] = CLICK
    return samples, [(begin, end) for begin, end in edges], click


def token_times(samples: np.ndarray, start: float, cut: str) -> np.ndarray:
    """Times of the tokens of a model that knows nothing of silence, in windows of a second and a half."""
    model = SimpleNamespace(window_samples=24_000, window_seconds=1.5)
    times = []
    for window in cut_windows(model, samples, start, cut):
        first = np.arange(0, len(window.samples) / SAMPLE_RATE, TOKEN_SECONDS) + window.start_seconds
        times.append(np.stack([first, first + TOKEN_SECONDS], axis=1))
    return np.concatenate(times)


@given(recordings(), st.sampled_from([0.0, 3600.5]), st.sampled_from(["fixed", "pause"]))
@settings(max_examples=60, deadline=None)
def test_a_click_is_found_at_its_second(recording, start, cut):
    samples, stretches, click = recording
    num_samples = len(samples)
    kept, speech = keep_stretches(samples, stretches)
    times = token_times(kept, start, cut)
    moved = speech.to_recording(times, start)
    assert (np.diff(moved, axis=0) >= 0).all()
    assert (moved[:, 0] <= moved[:, 1]).all()
    # no token is where silence was left out
    seconds = np.array(stretches) / SAMPLE_RATE + start
    inside = (moved[:, :1] >= seconds[:, 0] - 1e-9) & (moved[:, 1:] <= seconds[:, 1] + 1e-9)
    assert inside.any(axis=1).all()
    # the token with the click: at most the half of it across a cut is not its own
    at = start + int(np.flatnonzero(kept == CLICK)[0]) / SAMPLE_RATE
    [token] = np.flatnonzero((times[:, 0] <= at) & (at < times[:, 1]))[-1:]
    there = start + click / SAMPLE_RATE
    is_whole = np.isclose(moved[token, 1] - moved[token, 0], TOKEN_SECONDS)
    if is_whole:
        assert moved[token, 0] - 1e-6 <= there <= moved[token, 1] + 1e-6
    else:
        assert np.abs(seconds - moved[token].mean()).min() <= TOKEN_SECONDS
    # spans of windows add up to the recording
    reached = [speech.reached(number) for number in range(0, len(kept) + 1, 5_000)]
    assert reached == sorted(reached)
    assert speech.reached(len(kept)) == num_samples


def test_a_token_as_long_as_its_window_runs_from_its_first_stretch_to_its_last():
    speech = Speech([16_000, 160_000], [32_000, 32_000], 200_000, CLICK)
    np.testing.assert_allclose(speech.to_recording(np.array([[0.0, 4.0]]), 0.0), [[1.0, 12.0]])


def test_short_pauses_stay_and_speech_keeps_its_margins():
    second = SAMPLE_RATE // CHUNK_SAMPLES
    likely, unsure, unlikely = [0.9] * second, [0.4] * (3 * second), [0.1] * second
    chunks = np.array([*unlikely, *likely, *unlikely, *likely, *unsure, *(unlikely * 3), *likely, *unlikely])
    margin = 0.4 * SAMPLE_RATE
    found = speech_stretches(chunks, len(chunks) * CHUNK_SAMPLES)
    # in doubt it is still speech; a pause of a second stays, one of three doesn't
    edges = np.array([1, 7, 10, 11]) * second * CHUNK_SAMPLES + margin * np.array([-1, 1, -1, 1])
    assert np.concatenate(found).tolist() == edges.tolist()
    assert speech_stretches(np.array([0.1] * 9), 4_500) == []
    assert speech_stretches(np.array([0.9] * 9), 4_500) == [(0, 4_500)]


def test_a_recording_without_speech_fails_and_a_part_without_is_empty(monkeypatch):
    monkeypatch.setattr(
        module, "probabilities", lambda samples, _: np.zeros(-(-len(samples) // CHUNK_SAMPLES))
    )
    noise = np.random.default_rng(0).integers(-300, 300, 32_000).astype(np.int16)
    with pytest.raises(AudioWithoutSpeech, match=r"no speech was found in 2\.0 s of sound of the waveform"):
        decode_speech((noise, SAMPLE_RATE), b"")
    kept, speech = decode_speech((noise, SAMPLE_RATE), b"", part_of=2.0)
    assert (len(kept), speech.num_samples, speech.reached(0)) == (0, 32_000, 32_000)
    assert speech.peak > 200


def test_a_missing_detector_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("SPEECHPRUNE_MODELS", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ConfigError, match=r"skip_silence needs Silero VAD .*fetch_models.py silero-vad"):
        EncodingOptions(skip_silence=True).detector()
    assert EncodingOptions().detector() is None


def test_silero_finds_a_real_speech_between_silences(shared_audio):
    """Skipped where Silero VAD is not there: a speech of 11 s, twice, with 10 s between."""
    try:
        detector = EncodingOptions(skip_silence=True).detector()
    except ConfigError as error:
        pytest.skip(str(error))
    spoken = decode_audio(str(shared_audio / "jfk.flac"))
    pause = np.random.default_rng(0).integers(-10, 10, 10 * SAMPLE_RATE).astype(np.int16)
    samples = np.concatenate([pause, spoken, pause, spoken, pause])
    samples[15 * SAMPLE_RATE] = samples[36 * SAMPLE_RATE + 7] = 32_767
    kept, speech = decode_speech((samples, SAMPLE_RATE), detector)
    assert len(kept) == pytest.approx(2 * len(spoken), abs=2 * SAMPLE_RATE)
    assert [start / SAMPLE_RATE for start in speech.starts] == pytest.approx([10, 31], abs=1)
    places = np.flatnonzero(kept == kept.max()) / SAMPLE_RATE
    found = speech.to_recording(np.stack([places, places], axis=1), 0.0)[:, 0]
    np.testing.assert_allclose(found, [15, 36 + 7 / SAMPLE_RATE], atol=1e-6)
