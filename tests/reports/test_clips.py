"""Clips stay inside their budget, and hold the seconds that they name."""

import io
import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.reports.clips import (
    BYTES_PER_SECOND,
    CONTEXT_SECONDS,
    FULL_SCALE,
    HEADER_BYTES,
    Recording,
    Seconds,
    as_opus,
    envelope_of,
    join,
    plan_clips,
    read_sound,
)
from tests.helpers.answered_run import RECORDING

ITEMS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.lists(st.tuples(st.floats(0, 600), st.floats(0, 9)), min_size=1, max_size=4),
    ),
    max_size=8,
)


@given(ITEMS)
def test_spans_with_enough_budget_are_all_covered_once(items):
    wanted = [(key, [Seconds(a, a + length) for a, length in spans]) for key, spans in items]
    chosen = plan_clips(wanted, 1e9)
    for key, spans in wanted:
        for span in spans:
            assert [clip for clip in chosen[key] if clip.start <= span.start and span.end <= clip.end]
    for clips in chosen.values():
        assert all(a.end < b.start for a, b in itertools.pairwise(clips))


def test_what_no_longer_fits_is_left_out_and_smaller_later_items_are_taken():
    long, short = [Seconds(100, 190)], [Seconds(10, 12)]
    assert plan_clips([("a", long), ("b", short)], 100_000) == {
        "b": [Seconds(10 - CONTEXT_SECONDS, 12 + CONTEXT_SECONDS)]
    }
    assert plan_clips([("a", short)], 0) == {}
    assert join([Seconds(5, 6), Seconds(1, 2), Seconds(2, 3)]) == [Seconds(1, 3), Seconds(5, 6)]


@pytest.mark.parametrize("seconds", [0.01, 1.5, 10.0, 61.23])
def test_a_clip_is_no_larger_than_planned_and_lasts_as_long(speech, seconds):
    samples = speech(seconds)
    opus = as_opus(samples)
    assert len(opus) <= HEADER_BYTES + BYTES_PER_SECOND * seconds
    assert soundfile.info(io.BytesIO(opus)).duration == pytest.approx(seconds, abs=1e-4)


def test_clips_hold_the_seconds_that_they_name():
    recording = Recording(str(RECORDING), 10.0, 60.0, None)
    sound = read_sound(recording, [Seconds(5, 14), Seconds(40, 45), Seconds(200, 210)])
    whole = decode_audio(RECORDING)
    assert [(clip.start, clip.end) for clip in sound.clips] == [(10, 14), (40, 45)]  # as far as it was asked
    assert sound.end == 60.0
    for clip in sound.clips:
        played = decode_audio(clip.opus).astype(float)
        there = whole[round(clip.start * SAMPLE_RATE) :][: len(played)]
        assert np.corrcoef(played, there)[0, 1] > 0.9


def test_an_envelope_is_the_peaks():
    samples = np.zeros(1000, np.int16)
    samples[250], samples[999] = -32768, 16384
    envelope = envelope_of(samples, 4)
    assert envelope == [0, FULL_SCALE, 0, FULL_SCALE // 2]
    assert envelope_of(samples[:2], 4) == [0, 0]
