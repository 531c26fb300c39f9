"""Spoken scripts: where sentences are said to lie, against where their tones are heard in the samples."""

from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.recording import (
    FITTED_PAUSE,
    OVERLAP,
    PAUSE_BETWEEN_TURNS,
    PAUSE_IN_TURN,
    PEAK,
    choose_voices,
    speak_script,
)
from speechprune.benchmarks.builder.script import Speaker
from speechprune.benchmarks.builder.speech import SpeechError, Utterance, Voice
from tests.helpers.tones import Tones, heard_spans, make_script

OPTIONS = {"seconds": None, "voice_group": None, "overlap_fraction": 0.0, "seed": 0}
DIALOGUE = make_script(
    [(0, [6, 3]), (1, [5]), (0, [4, 4, 4]), (2, [7]), (3, [3, 6]), (1, [8])], [(2, 1), (4, 0)]
)


@st.composite
def scripts(draw):
    turns = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.lists(st.integers(1, 6), min_size=1, max_size=3)),
            min_size=1,
            max_size=6,
        )
    )
    turn = draw(st.integers(0, len(turns) - 1))
    return make_script(turns, [(turn, draw(st.integers(0, len(turns[turn][1]) - 1)))])


def flat_spans(spoken):
    return [span for turn in spoken.sentence_spans for span in turn]


def pauses_of(spoken):
    spans = flat_spans(spoken)
    return np.array([later[0] - earlier[1] for earlier, later in pairwise(spans)])


def spans_of_speaker(spoken, name):
    turns = zip(spoken.script.turns, spoken.sentence_spans, strict=True)
    return [span for turn, spans in turns if turn.speaker == name for span in spans]


@given(
    script=scripts(),
    overlap_fraction=st.sampled_from([0.0, 0.5, 1.0]),
    seconds=st.none() | st.floats(0, 60),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_every_sentence_is_heard_where_its_span_says(script, overlap_fraction, seconds, seed):
    options = OPTIONS | {"overlap_fraction": overlap_fraction, "seconds": seconds, "seed": seed}
    spoken = speak_script(script, Tones(), **options)
    assert [len(turn) for turn in spoken.sentence_spans] == [len(turn.sentences) for turn in script.turns]
    spans = flat_spans(spoken)
    assert spans[0][0] == 0
    assert spans[-1][1] == spoken.audio_seconds
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start
        assert end < next_end
    for name, voice in spoken.voices.items():
        told = spans_of_speaker(spoken, name)
        heard = heard_spans(spoken.samples, voice)
        assert len(heard) == len(told)
        assert np.abs(np.array(heard) - np.array(told)).max() <= 0.01

    [question] = script.questions
    start, end = spoken.evidence_span(question)
    others = [span for span in spans if span != (start, end)]
    assert all(other_end <= start or end <= other_start for other_start, other_end in others)


@given(script=scripts(), seconds=st.floats(0, 60), overlap_fraction=st.sampled_from([0.0, 1.0]))
@settings(max_examples=60)
def test_the_length_is_what_was_asked_or_as_near_as_pauses_allow(script, seconds, overlap_fraction):
    spoken = speak_script(
        script, Tones(), **OPTIONS | {"seconds": seconds, "overlap_fraction": overlap_fraction}
    )
    pauses = pauses_of(spoken)
    pauses, overlaps = pauses[pauses > 0], pauses[pauses < 0]
    unpaused = spoken.audio_seconds - pauses.sum()
    shortest, longest = (unpaused + limit * len(pauses) for limit in FITTED_PAUSE)
    rounding = (len(pauses) + 1) / SAMPLE_RATE
    assert abs(spoken.audio_seconds - np.clip(seconds, shortest, longest)) <= rounding

    freely = pauses_of(speak_script(script, Tones(), **OPTIONS | {"overlap_fraction": overlap_fraction}))
    assert np.allclose(freely[freely < 0], overlaps, atol=1 / SAMPLE_RATE)  # scaling leaves overlaps alone
    unclipped = (pauses > FITTED_PAUSE[0] + 1e-3) & (pauses < FITTED_PAUSE[1] - 1e-3)
    factors = (pauses / freely[freely > 0])[unclipped]
    assert np.allclose(factors, factors[:1].repeat(len(factors)), rtol=2e-3)  # one factor for all


def test_pauses_that_are_added_between_turns_change_nothing_else():
    script = make_script([(turn % 2, [1] * 4) for turn in range(40)])
    plain, paused = (
        speak_script(script, Tones(), **OPTIONS, pause_seconds=seconds) for seconds in (0.0, 5.0)
    )
    added = pauses_of(paused) - pauses_of(plain)
    between = np.arange(1, len(added) + 1) % 4 == 0
    assert np.abs(added[~between]).max() < 1e-6
    assert 4.0 < added[between].mean() < 6.0
    assert paused.voices == plain.voices
    assert np.count_nonzero(paused.samples) == np.count_nonzero(plain.samples)


def test_pauses_are_short_within_a_turn_and_longer_between_turns():
    spoken = speak_script(make_script([(turn % 2, [1] * 4) for turn in range(40)]), Tones(), **OPTIONS)
    pauses = pauses_of(spoken).tolist()
    within = [pause for number, pause in enumerate(pauses) if number % 4 != 3]
    between = pauses[3::4]
    for drawn, (low, high) in ((within, PAUSE_IN_TURN), (between, PAUSE_BETWEEN_TURNS)):
        assert low - 1e-3 <= min(drawn) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(drawn) <= high + 1e-3


@pytest.mark.parametrize("fraction", [0.25, 0.6, 1.0])
def test_the_share_of_changes_asked_for_overlaps_by_a_heard_amount(fraction):
    turns = [(turn % 3, [5, 5]) for turn in range(41)]
    spoken = speak_script(
        make_script(turns, [(0, 0)]), Tones(), **OPTIONS | {"overlap_fraction": fraction, "seed": 3}
    )
    pauses = pauses_of(spoken)
    assert (pauses < 0).sum() == 40 * fraction
    assert not (pauses[::2] < 0).any()  # within a turn
    assert -OVERLAP[1] - 1e-3 <= pauses.min() < pauses[pauses < 0].max() <= -OVERLAP[0] + 1e-3
    loud = {name: heard_spans(spoken.samples, voice) for name, voice in spoken.voices.items()}
    together = sum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for name, spans in loud.items()
        for start, end in spans
        for other, other_spans in loud.items()
        if other > name
        for other_start, other_end in other_spans
    )
    assert together == pytest.approx(-pauses[pauses < 0].sum(), abs=0.01 * (pauses < 0).sum())


def test_nobody_speaks_over_a_key_sentence_or_himself():
    everything_key = make_script([(0, [5]), (1, [5]), (0, [5])], [(0, 0), (2, 0)])
    alone = make_script([(0, [5]), (0, [5]), (0, [5])])
    for script in (everything_key, alone):
        spoken = speak_script(script, Tones(), **OPTIONS | {"overlap_fraction": 1.0})
        assert (pauses_of(spoken) > 0).all()


def test_words_are_timed_from_the_beginning_of_the_recording():
    spoken = speak_script(DIALOGUE, Tones(), **OPTIONS)
    texts = [word for turn in DIALOGUE.turns for sentence in turn.sentences for word in sentence.split()]
    assert [word.text for word in spoken.words] == texts
    words = iter(spoken.words)
    for turn, spans in zip(DIALOGUE.turns, spoken.sentence_spans, strict=True):
        for sentence, (start, end) in zip(turn.sentences, spans, strict=True):
            own = [next(words) for _ in sentence.split()]
            assert own[0].start == pytest.approx(start)
            assert own[-1].end == pytest.approx(end, abs=1e-3)
            assert [word.end for word in own[:-1]] == pytest.approx([word.start for word in own[1:]])
    assert spoken.phonemes == ()


def test_voices_fit_their_speakers_and_differ_while_there_are_enough():
    spoken = speak_script(DIALOGUE, Tones(), **OPTIONS)
    assert set(spoken.voices) == {speaker.name for speaker in DIALOGUE.speakers}
    assert all(spoken.voices[speaker.name].gender == speaker.gender for speaker in DIALOGUE.speakers)
    assert len({voice.name for voice in spoken.voices.values()}) == 4

    rng = np.random.default_rng(0)
    crowd = [Speaker(name=f"{number}", gender="female") for number in range(60)]
    chosen = list(choose_voices(crowd, Tones.voices, None, rng).values())
    assert len({voice.name for voice in chosen[:3]}) == 3
    assert [voice.name for voice in chosen[:3]] == [voice.name for voice in chosen[3:6]]
    paces = [voice.words_per_minute for voice in chosen]
    pitches = [voice.pitch for voice in chosen]
    assert 150 <= min(paces) < 155 < 180 < max(paces) <= 185
    assert 40 <= min(pitches) < 43 < 57 < max(pitches) <= 60
    orders = {
        tuple(voice.name for voice in choose_voices(crowd[:3], Tones.voices, None, rng).values())
        for _ in range(40)
    }
    assert len(orders) == 6


@pytest.mark.parametrize("group", ["training", "held_out"])
def test_only_voices_of_the_group_speak(group):
    for seed in range(5):
        spoken = speak_script(DIALOGUE, Tones(), **OPTIONS | {"voice_group": group, "seed": seed})
        assert {voice.group for voice in spoken.voices.values()} == {group}


def test_speakers_are_about_equally_loud_whatever_their_voices_and_nothing_clips():
    spoken = speak_script(DIALOGUE, Tones(), **OPTIONS)
    assert spoken.samples.dtype == np.int16
    assert np.abs(spoken.samples.astype(int)).max() == pytest.approx(PEAK, abs=1)
    levels = []
    for name in spoken.voices:
        own = np.concatenate(
            [
                spoken.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
                for start, end in spans_of_speaker(spoken, name)
            ]
        )
        levels.append(10 * np.log10(np.square(own.astype(float)).mean()))
    assert 0.1 < max(levels) - min(levels) <= 4.01  # the tones themselves differ by 36 dB


def test_a_seed_decides_everything_and_another_changes_it():
    options = OPTIONS | {"overlap_fraction": 0.5, "seconds": 40.0}
    first, again, other = (speak_script(DIALOGUE, Tones(), **options | {"seed": seed}) for seed in (7, 7, 8))
    assert np.array_equal(first.samples, again.samples)
    assert (first.voices, first.sentence_spans, first.words) == (
        again.voices,
        again.sentence_spans,
        again.words,
    )
    assert first.sentence_spans != other.sentence_spans
    assert first.voices != other.voices


def test_an_hour_of_many_turns():
    turns = [(number % 4, [20, 15, 22]) for number in range(170)]
    spoken = speak_script(make_script(turns, [(100, 1)]), Tones(), **OPTIONS | {"seconds": 3600.0})
    assert spoken.audio_seconds == pytest.approx(3600, abs=0.02)
    start, end = spoken.evidence_span(spoken.script.questions[0])
    voice = spoken.voices[spoken.script.turns[100].speaker]
    clip = spoken.samples[round((start - 0.05) * SAMPLE_RATE) : round((end + 0.05) * SAMPLE_RATE)]
    [heard] = heard_spans(clip, voice)
    assert heard == pytest.approx((0.05, 0.05 + end - start), abs=0.01)


class Mute(Tones):
    def speak(self, text: str, voice: Voice) -> Utterance:
        utterance = super().speak(text, voice)
        return replace(utterance, samples=utterance.samples * (not text.startswith("t2")))


def test_what_cannot_be_spoken_is_said():
    with pytest.raises(SpeechError, match="there is no female voice in the group 'children'"):
        speak_script(DIALOGUE, Tones(), **OPTIONS | {"voice_group": "children"})
    with pytest.raises(SpeechError, match=r"tone-\d' speaks 't2s0w0 .* as silence"):
        speak_script(DIALOGUE, Mute(), **OPTIONS)
    with pytest.raises(SpeechError, match="'Rent' has no sentence"):
        speak_script(replace(DIALOGUE, turns=(), questions=()), Tones(), **OPTIONS)


def test_real_speech_lies_where_its_span_says():
    """espeak-ng's sentence, on its own, fits the recording best at its span, to the sample."""
    pytest.importorskip("espeakng_loader")
    from speechprune.benchmarks.builder.espeak import Espeak

    class Remembering(Espeak):
        spoken: ClassVar[dict[str, Utterance]] = {}

        def speak(self, text: str, voice: Voice) -> Utterance:
            self.spoken[text] = super().speak(text, voice)
            return self.spoken[text]

    options = OPTIONS | {"seconds": 60.0, "voice_group": "training", "overlap_fraction": 0.5}
    spoken = speak_script(DIALOGUE, Remembering(), **options)
    recording = spoken.samples.astype(float)
    for question in DIALOGUE.questions:
        alone = Remembering.spoken[DIALOGUE.key_sentence(question)].samples.astype(float)
        start, end = spoken.evidence_span(question)
        assert end - start == pytest.approx(len(alone) / SAMPLE_RATE)
        margin = SAMPLE_RATE // 2
        begin = round(start * SAMPLE_RATE) - margin
        fit = np.correlate(recording[begin : begin + len(alone) + 2 * margin], alone, "valid")
        assert fit.argmax() == margin
        texts = DIALOGUE.key_sentence(question).split()
        heard = [word.text for word in spoken.words if start <= word.start and word.end <= end + 1e-6]
        assert heard == texts
