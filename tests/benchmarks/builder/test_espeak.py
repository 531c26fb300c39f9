"""espeak-ng in process: the same bytes whatever was said before, and word times that the sound confirms."""

import hashlib
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.espeak import Espeak, load_voices
from speechprune.benchmarks.builder.grammar import vocabulary
from speechprune.benchmarks.builder.speech import SpeechError, Voice

espeakng_loader = pytest.importorskip("espeakng_loader")

VARIANTS = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
SENTENCE = "Well, the price of the mobile server is, um, eighty dollars."
SIBILANT_HZ = 4000
FRAME = SAMPLE_RATE // 100  # 10 ms

voices = st.sampled_from(load_voices())
sentences = st.lists(
    st.tuples(st.sampled_from(vocabulary()), st.sampled_from(["", "", "", ",", "."])), min_size=1, max_size=9
).map(lambda parts: " ".join(word + mark for word, mark in parts))


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def fresh(espeak: Espeak, text: str, voice: Voice):
    espeak.reset()
    return espeak.speak(text, voice)


def decibels(samples: np.ndarray) -> np.ndarray:
    """Level of each 10 ms."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(float)
    return 10 * np.log10(np.square(frames).mean(1) + 1)


def spans_where(frames: np.ndarray, min_frames: int) -> list[tuple[float, float]]:
    """Seconds of runs of true frames, joined over gaps shorter than `min_frames`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], frames.astype(int), [0]])))
    spans: list[list[int]] = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if spans and begin - spans[-1][1] < min_frames:
            spans[-1][1] = end
        else:
            spans.append([begin, end])
    return [(begin / 100, end / 100) for begin, end in spans]


def pitch_hz(samples: np.ndarray) -> float:
    """Median over voiced pieces of the lag at which a piece resembles itself most, from 50 to 400 Hz."""
    found = []
    for begin in range(0, len(samples) - 1024, 400):
        piece = samples[begin : begin + 1024].astype(float)
        piece -= piece.mean()
        similar = np.fft.irfft(np.abs(np.fft.rfft(piece, 4096)) ** 2)
        lag = 40 + int(np.argmax(similar[40:320]))
        if similar[lag] > 0.4 * similar[0] > 0:
            found.append(SAMPLE_RATE / lag)
    return float(np.median(found))


@given(text=sentences, voice=voices, before=st.lists(st.tuples(sentences, voices), max_size=3))
@settings(max_examples=15)
def test_after_a_reset_a_sentence_sounds_the_same_whatever_was_said_before(espeak, text, voice, before):
    alone = fresh(espeak, text, voice)
    for other, other_voice in before:
        espeak.speak(other, other_voice)
    again = fresh(espeak, text, voice)
    assert again.samples.tobytes() == alone.samples.tobytes()
    assert (again.words, again.phonemes) == (alone.words, alone.phonemes)


def test_without_a_reset_it_does_not(espeak):
    voice = load_voices()[0]
    alone = fresh(espeak, SENTENCE, voice)
    assert espeak.speak(SENTENCE, voice).samples.tobytes() != alone.samples.tobytes()


def test_another_process_speaks_the_same_bytes(espeak):
    program = (
        "from speechprune.benchmarks.builder.espeak import Espeak, load_voices\n"
        "import sys, hashlib\n"
        "print(hashlib.sha256(Espeak().speak(sys.argv[1], load_voices()[7]).samples.tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program, SENTENCE], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = fresh(espeak, SENTENCE, load_voices()[7]).samples
    assert hashlib.sha256(here.tobytes()).hexdigest() == elsewhere


@given(text=sentences, voice=voices, words_per_minute=st.integers(150, 185))
@settings(max_examples=60)
def test_every_word_has_a_time_inside_the_sentence_after_the_word_before(
    espeak, text, voice, words_per_minute
):
    utterance = espeak.speak(text, replace(voice, words_per_minute=words_per_minute))
    seconds = len(utterance.samples) / SAMPLE_RATE
    assert utterance.samples.dtype == np.int16
    assert [word.text for word in utterance.words] == re.findall(r"[A-Za-z']+", text)
    assert utterance.words[0].start < 0.2
    assert utterance.words[-1].end <= seconds + 1e-3
    for word in utterance.words:
        assert word.end - word.start > 0.01
    for before, after in pairwise(utterance.words):
        assert before.end <= after.start + 1e-9
    for before, after in pairwise(utterance.phonemes):
        assert 0 <= before.start <= before.end == after.start
    assert utterance.phonemes[-1].end == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "One of the men in the sea of it.",
        "He said 'hello' to me.",
        "It's the teacher's café, isn't it?",
        "Don’t say “never” – or (perhaps) do!",
        "Um, uh, well... no!",
        "Over 23 million people worldwide use '123456' as their password.",
    ],
)
def test_merged_words_quotes_and_accents_leave_no_word_without_its_time(espeak, text):
    utterance = fresh(espeak, text, load_voices()[0])
    assert [word.text for word in utterance.words] == re.findall(r"\w+(?:['’]\w+)*", text)
    assert all(word.end - word.start > 0.01 for word in utterance.words)


@pytest.mark.parametrize("voice", load_voices()[::23], ids=lambda voice: voice.name)
def test_words_between_pauses_are_heard_where_their_times_say(espeak, voice):
    names = "Monday Laura library window yellow melody Norway umbrella memory seven"
    utterance = fresh(espeak, ", ".join(names.split()) + ".", voice)
    level = decibels(utterance.samples)
    heard = spans_where(level > level.max() - 35, min_frames=6)
    told = [(word.start, word.end) for word in utterance.words]
    assert len(heard) == len(told) == 10
    assert np.abs(np.array(heard) - np.array(told)).max() < 0.09
    assert np.abs(np.array(heard) - np.array(told)).mean() < 0.03


def test_quoted_words_are_heard_where_their_times_say(espeak):
    utterance = fresh(espeak, "Mary, 'library', yellow, 'moon'.", load_voices()[0])
    level = decibels(utterance.samples)
    heard = spans_where(level > level.max() - 35, min_frames=6)
    assert np.abs(np.array(heard) - [(word.start, word.end) for word in utterance.words]).max() < 0.09


@pytest.mark.parametrize("voice", load_voices()[::35], ids=lambda voice: voice.name)
def test_in_connected_speech_words_that_begin_with_a_hiss_begin_where_it_begins(espeak, voice):
    """Nothing else in this sentence has much sound above 4 kHz."""
    utterance = fresh(espeak, "Laura may say one sailor will see a moon in Saturn and a lonely seven", voice)
    frames = utterance.samples[: len(utterance.samples) // FRAME * FRAME].reshape(-1, FRAME).astype(float)
    spectrum = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    high = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE) > SIBILANT_HZ
    hissing = spectrum[:, high].sum(1) > 0.5 * spectrum.sum(1)
    hisses = [span for span in spans_where(hissing, min_frames=4) if span[1] - span[0] >= 0.04]
    told = [word.start for word in utterance.words if word.text[0] in "sS"]
    assert len(hisses) == len(told) == 5
    assert np.abs(np.array([begin for begin, _ in hisses]) - told).max() < 0.05


@given(text=sentences, voice=voices)
@settings(max_examples=15)
def test_no_silence_is_left_at_either_end(espeak, text, voice):
    samples = np.abs(espeak.speak(text, voice).samples.astype(int))
    assert samples[:32].max() > 20  # 2 ms
    assert samples[-32:].max() > 20


def test_every_voice_is_there_and_sounds_unlike_all_others(espeak):
    heard = set()
    for voice in load_voices():
        variant = voice.name.split("+")[1]
        assert (VARIANTS / variant).is_file()
        heard.add(fresh(espeak, "Tea.", voice).samples.tobytes())
    accents = {voice.name.split("+")[0] for voice in load_voices()}
    plain = {fresh(espeak, "Tea.", Voice(name=name, gender="male")).samples.tobytes() for name in accents}
    assert len(plain) == len(accents)
    assert len(heard | plain) == len(load_voices()) + len(accents)


def test_women_have_higher_voices_than_men(espeak):
    pitches = defaultdict(list)
    for voice in load_voices():
        if voice.name.startswith("en-us+"):
            utterance = fresh(espeak, "Nora will move the yellow lamp.", voice)
            pitches[voice.gender].append(pitch_hz(utterance.samples))
    assert min(pitches["female"]) > 150 > max(pitches["male"])


def test_both_groups_have_both_genders_and_share_no_voice():
    numbers = defaultdict(lambda: defaultdict(set))
    for voice in load_voices():
        numbers[voice.group][voice.gender].add(voice.name.split("+")[1])
    assert set(numbers) == {"training", "held_out"}
    variants = {group: set.union(*genders.values()) for group, genders in numbers.items()}
    assert not variants["training"] & variants["held_out"]
    for genders in numbers.values():
        assert set(genders) == {"female", "male"}
        assert min(map(len, genders.values())) >= 4
        assert min(map(len, genders.values())) >= 0.4 * sum(map(len, genders.values()))
        assert not genders["female"] & genders["male"]
    accents = {
        group: {voice.name.split("+")[0] for voice in load_voices() if voice.group == group}
        for group in variants
    }
    assert accents["held_out"] <= accents["training"]  # a new voice is one matter, a new accent another


def test_pace_and_pitch_are_those_of_the_voice(espeak):
    voice = load_voices()[0]
    slow, fast = (
        fresh(espeak, SENTENCE, replace(voice, words_per_minute=speed)).samples for speed in (120, 240)
    )
    assert len(slow) > 1.5 * len(fast)
    low, high = (
        pitch_hz(fresh(espeak, "Nora will move the yellow lamp.", replace(voice, pitch=pitch)).samples)
        for pitch in (20, 80)
    )
    assert high > 1.2 * low


def test_a_later_synthesizer_of_the_process_speaks_as_if_it_were_the_first(espeak):
    voice = load_voices()[3]
    alone = fresh(espeak, SENTENCE, voice).samples
    brisk = Espeak(words_per_minute=190)
    assert {voice.words_per_minute for voice in brisk.voices} == {190}
    assert [voice.name for voice in brisk.voices] == [voice.name for voice in espeak.voices]
    assert len(brisk.speak(SENTENCE, brisk.voices[3]).samples) < 0.95 * len(alone)
    assert fresh(brisk, SENTENCE, voice).samples.tobytes() == alone.tobytes()
    assert fresh(espeak, SENTENCE, voice).samples.tobytes() == alone.tobytes()


@pytest.mark.parametrize("name", ["en-us+nobody", "nobody", "xx+f1", "", "en-us+"])
def test_a_voice_that_is_not_there_is_named(espeak, name):
    with pytest.raises(SpeechError, match=re.escape(f"no voice {name!r}")):
        espeak.speak(SENTENCE, Voice(name=name, gender="female"))


@pytest.mark.parametrize("text", ["", " ", "...", "?", "- - -"])
def test_text_without_a_sound_is_refused_and_the_next_is_spoken(espeak, text):
    with pytest.raises(SpeechError, match="no sound of"):
        espeak.speak(text, load_voices()[0])
    assert len(espeak.speak(SENTENCE, load_voices()[0]).samples) > SAMPLE_RATE
