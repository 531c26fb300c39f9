"""Piper's voices: a tiny one written here, and the fetched one where it is there."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.piper_speech import PiperOptions, PiperSpeech
from speechprune.benchmarks.builder.recording_stage import make_synthesizer
from speechprune.benchmarks.builder.speech import SpeechError, Voice
from speechprune.config import fetched_models_folder, parse_config
from tests.helpers.neural_voices import HOP_LENGTHS, NUM_FRAMES, PIPER_RATE, write_piper

piper = pytest.importorskip("piper")

SENTENCE = "Out of the 25 options, we'd take one."
JOE = fetched_models_folder() / "piper-en-us-joe"  # read here: tests may set another folder


def speech_of(*voices: str | Path) -> PiperSpeech:
    return PiperSpeech(PiperOptions(female=tuple(map(str, voices)), male=tuple(map(str, voices))))


@pytest.fixture(scope="module")
def voice_file(tmp_path_factory) -> Path:
    return write_piper(tmp_path_factory.mktemp("voice") / "tiny.onnx")


@pytest.fixture(scope="module")
def tiny(voice_file) -> PiperSpeech:
    return speech_of(voice_file)


def test_a_config_makes_it_and_a_folder_stands_for_its_voice(voice_file):
    lists = {"female": [str(voice_file.parent)], "male": [str(voice_file)]}
    values = {"output": {"path": "out"}, "speech": {"kind": "piper"}, "piper": lists}
    speech = make_synthesizer(parse_config(BuildConfig, values))
    assert speech.voices == (Voice(name="tiny", gender="female"), Voice(name="tiny", gender="male"))


def test_after_a_reset_it_speaks_the_same(tiny, voice_file):
    tiny.reset()
    first, second = (tiny.speak(SENTENCE, tiny.voices[0]) for _ in range(2))
    assert first.samples.dtype == np.int16
    assert not np.array_equal(first.samples, second.samples)  # no sentence has the noise of the one before
    tiny.reset()
    for speech in (tiny, speech_of(voice_file)):
        again = speech.speak(SENTENCE, speech.voices[1])
        np.testing.assert_array_equal(again.samples, first.samples)
        assert again.words == first.words


def test_words_have_the_times_of_their_phonemes(tiny):
    """Those of "out of" are one word of Piper's, and those of 25 are two."""
    words = tiny.speak(SENTENCE, tiny.voices[0]).words
    assert [word.text for word in words] == ["Out", "of", "the", "25", "options", "we'd", "take", "one"]
    phoneme = 2 * NUM_FRAMES * HOP_LENGTHS[PIPER_RATE] / PIPER_RATE  # every phoneme is followed by a pad
    spoken = [len("ˌaʊɾ"), len("əv "), len("ðə "), len("twˈɛnti fˈaɪv "), len("ˈɑːpʃənz")]
    spoken += [len("wiːd "), len("tˈeɪk "), len("wˈʌn")]
    pauses = {4: len(", ")}  # behind the fifth word
    moment = len("^")
    for number, (word, length) in enumerate(zip(words, spoken, strict=True)):
        assert word.start == pytest.approx(moment * phoneme, abs=1e-3)
        moment += length
        assert word.end == pytest.approx(moment * phoneme, abs=1e-3)
        moment += pauses.get(number, 0)


def test_a_file_without_durations_speaks_the_same_without_word_times(tmp_path, tiny):
    tiny.reset()
    plain = speech_of(write_piper(tmp_path / "tiny.onnx", durations="lasting"))
    utterance = plain.speak(SENTENCE, plain.voices[0])
    assert utterance.words == ()
    np.testing.assert_array_equal(utterance.samples, tiny.speak(SENTENCE, tiny.voices[0]).samples)


def test_speakers_of_one_file_are_voices(tmp_path):
    many = write_piper(tmp_path / "many.onnx", speakers=("p225", "p226"))
    options = PiperOptions(female=(f"{many}#p226",), male=(str(many),))
    speech = PiperSpeech(options)
    assert [(v.name, v.gender) for v in speech.voices] == [
        ("many#p226", "female"),
        ("many#p225", "male"),
        ("many#p226", "male"),
    ]
    levels = {}
    for voice in speech.voices:
        speech.reset()
        levels[voice.name] = np.abs(speech.speak(SENTENCE, voice).samples.astype(int)).max()
    assert levels["many#p226"] > 5 * levels["many#p225"]  # 1.1 and 0.1 times the same noise
    with pytest.raises(SpeechError, match=r"many.onnx has no speaker 'p3': its speakers are p225 to p226"):
        speech_of(f"{many}#p3")


def test_what_is_no_voice_is_refused_in_one_sentence(tmp_path, voice_file):
    other = tmp_path / "tiny.onnx"
    for place in (tmp_path, other):
        with pytest.raises(SpeechError, match=r"is no Piper voice: give an .onnx file, or a folder with one"):
            speech_of(place)
    other.write_bytes(b"junk")
    for settings in (None, "{", "{}", "[]"):
        if settings is not None:
            Path(f"{other}.json").write_text(settings)
        with pytest.raises(SpeechError, match=r"tiny.onnx.json can't be read as a Piper voice's settings \("):
            speech_of(other)
    write_piper(other)
    with pytest.raises(SpeechError, match=r"two voices are named tiny: give one of the files another name"):
        speech_of(voice_file, other)
    other.write_bytes(other.read_bytes()[:-100])
    with pytest.raises(SpeechError, match=r"tiny.onnx can't be loaded as a voice \(.*: get the file"):
        speech_of(other)


def test_what_it_can_not_speak_is_named(tiny):
    with pytest.raises(SpeechError, match=r"the voice 'tiny' could not speak '...'"):
        tiny.speak("...", tiny.voices[0])


def test_a_missing_package_is_the_one_that_the_extra_installs(voice_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(ModuleNotFoundError) as error:
        speech_of(voice_file)
    assert error.value.name == "piper"


@pytest.mark.skipif(not JOE.is_dir(), reason="python jobs/fetch_models.py piper-en-us-joe")
def test_the_fetched_voice_pauses_where_its_word_times_say():
    speech = speech_of(JOE)
    utterance = speech.speak("Well, the price of the server is, um, eighty dollars.", speech.voices[0])
    assert len(utterance.words) == 10
    level = np.abs(utterance.samples.astype(int))
    gaps = [(a.end, b.start) for a, b in pairwise(utterance.words) if b.start > a.end + 0.05]
    assert len(gaps) == 3  # the commas
    for begin, end in gaps:
        middle = round(SAMPLE_RATE * (begin + end) / 2)
        assert level[middle - 160 : middle + 160].max() < 0.1 * level.max()
    fast = replace(speech.voices[0], words_per_minute=2 * speech.voices[0].words_per_minute)
    assert len(speech.speak("A slow sentence.", fast).samples) < len(utterance.samples) / 2
