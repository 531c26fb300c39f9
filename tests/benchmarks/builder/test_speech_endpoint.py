"""Speech from an endpoint: a server on this machine plays tones, well and badly behaved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.speech import SpeechError, Voice
from speechprune.benchmarks.builder.speech_endpoint import SpeechEndpoint, SpeechEndpointOptions
from speechprune.benchmarks.builder.utterances import EDGE_SAMPLES, sound_span
from tests.helpers.protocol_server import ProtocolServer, Reply, error, in_turn, rate_limit, sound

KEY = "sk-very-secret-0123456789"
TONE_SECONDS = 0.5
ANNA = Voice(name="anna", gender="female")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SPEECH_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def tone(rate: int, hertz: float = 440.0) -> np.ndarray:
    """0.5 s of a tone, int16, between 0.3 s and 0.2 s of faint noise."""
    rng = np.random.default_rng(0)
    wave = 8000 * np.sin(2 * np.pi * hertz * np.arange(round(TONE_SECONDS * rate)) / rate)
    parts = [rng.normal(0, 3, round(0.3 * rate)), wave, rng.normal(0, 3, round(0.2 * rate))]
    return np.concatenate(parts).astype(np.int16)


def make_speech(server: ProtocolServer, **changes) -> SpeechEndpoint:
    defaults = {
        "model": "tiny-tts",
        "api_key_variable": "SPEECH_KEY",
        "backoff_seconds": 0.001,
        "max_attempts": 2,
        "voices": ("anna:female", "en:ben:male"),
    }
    return SpeechEndpoint(SpeechEndpointOptions(base_url=server.base_url, **(defaults | changes)))


def assert_is_the_tone(samples: np.ndarray) -> None:
    """Its length to the edges that are left, its pitch by the spectrum's peak, its loudness."""
    assert samples.dtype == np.int16
    assert abs(len(samples) - TONE_SECONDS * SAMPLE_RATE) <= 2 * EDGE_SAMPLES + 32
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(samples) == pytest.approx(440, abs=3)
    assert np.abs(samples).max() == pytest.approx(8000, rel=0.05)


FORMATS = {
    "wav 24 kHz": (sound(tone(24_000), 24_000), "wav"),
    "wav 44.1 kHz": (sound(tone(44_100), 44_100), "wav"),
    "wav stereo": (sound(np.stack([tone(16_000)] * 2, axis=1), 16_000), "wav"),
    "pcm": (Reply(tone(24_000).astype("<i2").tobytes()), "pcm"),
}


@pytest.mark.parametrize(("reply", "response_format"), FORMATS.values(), ids=FORMATS)
def test_a_sentence_is_spoken_at_16_khz_without_silence(reply, response_format):
    with ProtocolServer(in_turn(reply)).running() as server:
        speech = make_speech(server, response_format=response_format)
        utterance = speech.speak("Hello there.", speech.voices[1])
    assert_is_the_tone(utterance.samples)
    assert utterance.words == ()
    (request,) = server.requests
    assert request.path == "/v1/audio/speech"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "tiny-tts",
        "voice": "en:ben",
        "input": "Hello there.",
        "response_format": response_format,
    }


def test_voices_are_those_of_the_options():
    options = SpeechEndpointOptions(model="tiny-tts", voices=("anna:female", "en:ben:male"))
    assert SpeechEndpoint(options).voices == (ANNA, Voice(name="en:ben", gender="male"))


FAULTS = {
    "rate limit": rate_limit(),
    "server error": error(502, "oops"),
    "time-out": Reply(fault="hang"),
    "connection reset": Reply(fault="reset"),
    "cut off": Reply(sound(tone(24_000), 24_000).content, fault="cut"),
    "no sound": Reply(b'{"error": "busy"}'),
    "nothing": Reply(b""),
    "silence": sound(np.zeros(8000, np.int16), 16_000),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_after_a_fault_the_sentence_is_spoken_once(fault):
    patience = {"timeout_seconds": 0.5} if fault.fault == "hang" else {}
    with ProtocolServer(in_turn(fault, sound(tone(24_000), 24_000))).running() as server:
        utterance = make_speech(server, **patience).speak("Hello there.", ANNA)
    assert_is_the_tone(utterance.samples)
    first, second = server.requests
    assert first.body == second.body


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_spent_budget_is_a_clear_error(fault):
    told = r"'anna' could not speak 'Hello there\.': .* in 2 attempts; the last problem: .+; .+"
    with ProtocolServer(in_turn(fault, fault)).running() as server:
        speech = make_speech(server, timeout_seconds=0.5)
        with pytest.raises(SpeechError, match=told) as raised:
            speech.speak("Hello there.", ANNA)
    assert len(server.requests) == 2
    assert KEY not in str(raised.value)


def test_half_a_sample_is_no_pcm():
    replies = [Reply(b"\0\1\2"), Reply(tone(24_000).astype("<i2").tobytes())]
    with ProtocolServer(in_turn(*replies)).running() as server:
        utterance = make_speech(server, response_format="pcm").speak("Hello there.", ANNA)
    assert_is_the_tone(utterance.samples)


def test_a_refusal_is_final_and_keeps_the_secret():
    server = ProtocolServer(in_turn(error(403, f"key {KEY} may not speak")))
    with server.running(), pytest.raises(SpeechError, match=r"check the key in \$SPEECH_KEY") as raised:
        make_speech(server).speak("Hello there.", ANNA)
    assert KEY not in str(raised.value)
    assert KEY not in str(raised.value.__cause__)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("voices", "told"),
    [
        ((), "empty"),
        (("anna",), "name:female"),
        (("anna:robot",), "'anna:robot'"),
        (("a:male",) * 2, "twice"),
    ],
)
def test_voices_are_checked(voices, told):
    with pytest.raises(ValueError, match=told):
        SpeechEndpointOptions(model="tiny-tts", voices=voices)


@given(
    lead=st.integers(0, 2000),
    tail=st.integers(0, 2000),
    loud=st.lists(st.integers(-32768, 32767), min_size=1, max_size=50),
)
def test_trimming_takes_silence_only(lead, tail, loud):
    """Nothing within 40 dB of the peak is lost, and no more silence is left than the edges."""
    loud = [20_000, *loud, -20_000]
    samples = np.array([0] * lead + loud + [0] * tail, np.int16)
    trimmed = samples[slice(*sound_span(samples))]
    edges = min(lead, EDGE_SAMPLES), min(tail, EDGE_SAMPLES)
    assert trimmed.tolist() == [0] * edges[0] + loud + [0] * edges[1]
