"""Kokoro's voices: tiny ones written here, and the fetched ones where they are there."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.kokoro_speech import KokoroOptions, KokoroSpeech
from speechprune.benchmarks.builder.recording_stage import make_synthesizer
from speechprune.benchmarks.builder.speech import SpeechError, Voice
from speechprune.config import fetched_models_folder, parse_config
from tests.helpers.neural_voices import HOP_LENGTHS, KOKORO_RATE, NUM_FRAMES, write_kokoro

pytest.importorskip("piper")

SENTENCE = "Out of the 25 options, we'd take one."
FETCHED = fetched_models_folder() / "kokoro-82m"  # read here: tests may set another folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_kokoro(tmp_path_factory.mktemp("kokoro"), {"af_loud": 1.0, "am_soft": 0.1})


@pytest.fixture(scope="module")
def tiny(folder) -> KokoroSpeech:
    return KokoroSpeech(KokoroOptions(model=str(folder)))


def test_a_config_makes_it_and_names_give_genders(folder):
    kokoro = {"model": str(folder), "voices": ["am_soft"]}
    values = {"output": {"path": "out"}, "speech": {"kind": "kokoro"}, "kokoro": kokoro}
    assert make_synthesizer(parse_config(BuildConfig, values)).voices == (
        Voice(name="am_soft", gender="male"),
    )


def test_the_same_sentence_sounds_the_same_in_a_voice(tiny):
    loud, soft = tiny.voices
    first = tiny.speak(SENTENCE, loud)
    tiny.speak("Something else.", soft)
    again = tiny.speak(SENTENCE, loud)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.words == again.words
    levels = [np.abs(tiny.speak(SENTENCE, voice).samples.astype(int)).max() for voice in (loud, soft)]
    assert levels[0] > 5 * levels[1]


def test_words_have_the_times_of_their_phonemes_in_every_sentence(tiny):
    words = tiny.speak("Take one. Take two.", tiny.voices[0]).words
    assert [word.text for word in words] == ["Take", "one", "Take", "two"]
    phoneme = NUM_FRAMES * HOP_LENGTHS[KOKORO_RATE] / KOKORO_RATE
    second = len("^tˈeɪk wˈʌn.$^")
    spans = [(1, 7), (7, 11), (second, second + 6), (second + 6, second + 10)]  # "tˈeɪk ", "wˈʌn", "tˈuː"
    for word, (start, end) in zip(words, spans, strict=True):
        trimmed = word.start - words[0].start + phoneme
        assert trimmed == pytest.approx(start * phoneme, abs=0.02)
        assert word.end - word.start == pytest.approx((end - start) * phoneme, abs=0.02)


def test_a_model_without_durations_speaks_the_same_without_word_times(tmp_path, tiny):
    write_kokoro(tmp_path, {"af_loud": 1.0}, durations="lasting")
    plain = KokoroSpeech(KokoroOptions(model=str(tmp_path)))
    utterance = plain.speak(SENTENCE, plain.voices[0])
    assert utterance.words == ()
    np.testing.assert_array_equal(utterance.samples, tiny.speak(SENTENCE, tiny.voices[0]).samples)


@pytest.mark.parametrize("missing", ["tiny.onnx", "voices.npz", "vocab.json"])
def test_what_is_no_folder_of_kokoro_is_refused_in_one_sentence(tmp_path, missing):
    write_kokoro(tmp_path, {"af_loud": 1.0})
    options = KokoroOptions(model=str(tmp_path))
    sentence = r"is no folder of Kokoro \(.*\): it must hold one .onnx file, voices.npz and vocab.json"
    broken = r"tiny.onnx can't be loaded as a voice \(.*: get the file again"
    (tmp_path / missing).write_bytes(b"{}")
    with pytest.raises(SpeechError, match=broken if missing == "tiny.onnx" else sentence):
        KokoroSpeech(options)
    (tmp_path / missing).unlink()
    with pytest.raises(SpeechError, match=sentence):
        KokoroSpeech(options)


def test_voices_and_sentences_that_it_can_not_speak_are_named(folder, tiny):
    with pytest.raises(SpeechError, match=r"has no voice 'af_none': its voices are af_loud, am_soft"):
        KokoroSpeech(KokoroOptions(model=str(folder), voices=("af_none",)))
    with pytest.raises(
        SpeechError, match=r"has a sentence of \d+ phonemes, and Kokoro speaks at most 60: split"
    ):
        tiny.speak("never " * 20, tiny.voices[0])
    with pytest.raises(SpeechError, match=r"the voice 'af_loud' could not speak ''"):
        tiny.speak("", tiny.voices[0])


@pytest.mark.skipif(not FETCHED.is_dir(), reason="python jobs/fetch_models.py kokoro-82m")
def test_the_fetched_voices_speak_with_word_times():
    speech = KokoroSpeech(KokoroOptions(model=str(FETCHED)))
    assert {voice.gender for voice in speech.voices} == {"female", "male"}
    words = speech.speak("Yes, on Monday.", speech.voices[0]).words
    assert [word.text for word in words] == ["Yes", "on", "Monday"]
    assert all(a.end <= b.start for a, b in pairwise(words))
