"""Noise, rooms and telephone lines, each measured by other means than it was made with."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.acoustics import AcousticOptions, degrade

EVERYTHING = AcousticOptions(snr_db=15, reverberation_seconds=0.4, telephone=True)


def power(samples):
    return np.square(samples.astype(float)).mean()


def tone(hertz, seconds=2.0, amplitude=8000.0):
    return (
        amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    ).astype(np.int16)


def added_noise(noisy, clean):
    """What is left of `noisy` without `clean` at its best-fitting level (it may have been turned down)."""
    noisy, clean = noisy.astype(float), clean.astype(float)
    level = noisy @ clean / (clean @ clean)
    return (noisy - level * clean) / level


def band_powers(samples, edges_hz):
    """Power in each band, from one transform of the whole."""
    spectrum = np.square(np.abs(np.fft.rfft(samples.astype(float))))
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return np.array(
        [spectrum[(low <= frequencies) & (frequencies < high)].sum() for low, high in pairwise(edges_hz)]
    )


def decibels(ratio):
    return 10 * np.log10(ratio)


# Noise


@pytest.mark.parametrize("noise", ["white", "pink", "speech_shaped"])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
def test_snr_is_over_what_is_spoken_and_not_over_pauses(noise, snr_db):
    """Bursts of known place and level: where somebody speaks is known without measuring it."""
    times = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    speaking = (times % 2.0) < 0.62
    clean = (4000 * np.sin(2 * np.pi * 700 * times) * speaking).astype(np.int16)
    noisy = degrade(clean, AcousticOptions(snr_db=snr_db, noise=noise), seed=1)
    left = added_noise(noisy, clean)
    assert decibels(power(clean[speaking]) / power(left[speaking])) == pytest.approx(snr_db, abs=0.2)
    assert decibels(power(left[~speaking]) / power(left[speaking])) == pytest.approx(0, abs=0.5)


def test_white_and_pink_noise_have_their_spectra(speech):
    clean = speech(30.0)
    octaves = [125, 250, 500, 1000, 2000, 4000]
    for noise, decibels_an_octave in (("white", 3.0), ("pink", 0.0)):
        left = added_noise(degrade(clean, AcousticOptions(snr_db=0, noise=noise), seed=2), clean)
        steps = np.diff(decibels(band_powers(left, octaves)))
        assert steps == pytest.approx([decibels_an_octave] * 4, abs=0.5)


def test_speech_shaped_noise_has_the_spectrum_of_the_recording(speech):
    clean = speech(30.0)
    left = added_noise(degrade(clean, AcousticOptions(snr_db=0), seed=3), clean)
    edges = np.geomspace(150, 6000, 13)
    of_speech, of_noise = band_powers(clean, edges), band_powers(left, edges)
    difference = decibels(of_noise / of_noise.sum()) - decibels(of_speech / of_speech.sum())
    assert np.abs(difference[of_speech > 1e-4 * of_speech.sum()]).max() < 2


# Room


@pytest.mark.parametrize("reverberation_seconds", [0.2, 0.5, 1.2])
def test_a_room_rings_as_long_as_asked_and_as_loud_as_the_direct_sound(reverberation_seconds):
    """RT60 by Schroeder's backward integration of the response to a click, from -5 to -25 dB."""
    click = np.zeros(2 * SAMPLE_RATE, dtype=np.int16)
    click[100] = 30000
    response = degrade(click, AcousticOptions(reverberation_seconds=reverberation_seconds), seed=4).astype(
        float
    )
    assert not response[:100].any()
    assert response[100] == np.abs(response).max()
    tail = response[101:]
    assert decibels(np.square(tail).sum() / response[100] ** 2) == pytest.approx(0, abs=0.2)
    decay = decibels(np.cumsum(np.square(tail)[::-1])[::-1] / np.square(tail).sum() + 1e-12)
    late, later = (np.argmax(decay < level) / SAMPLE_RATE for level in (-5, -25))
    assert 3 * (later - late) == pytest.approx(reverberation_seconds, rel=0.15)


# Telephone


def test_a_telephone_line_passes_its_band_alone():
    for hertz in (410, 1030, 1970, 3190):  # no short periods, whose rounding errors would all be alike
        heard = degrade(tone(hertz), AcousticOptions(telephone=True), seed=0)
        assert decibels(power(heard) / power(tone(hertz))) == pytest.approx(0, abs=0.3)
        # eight bits of µ-law: about 38 dB over its own noise, at any level
        for amplitude in (8000.0, 800.0):
            sent = tone(hertz, amplitude=amplitude)
            left = added_noise(degrade(sent, AcousticOptions(telephone=True), seed=0), sent)[2000:-2000]
            assert 30 < decibels(power(sent) / power(left)) < 45
    for hertz in (60, 150, 3700, 5000, 7500):
        heard = degrade(tone(hertz), AcousticOptions(telephone=True), seed=0)[2000:-2000]
        assert decibels(max(power(heard), 1e-9) / power(tone(hertz))) < -40


# All of it


@pytest.mark.parametrize(
    "options",
    [
        AcousticOptions(snr_db=10, noise="pink"),
        AcousticOptions(reverberation_seconds=0.6),
        AcousticOptions(telephone=True),
        EVERYTHING,
    ],
)
def test_nothing_moves_in_time(speech, options):
    clean = speech(20.0)
    heard = degrade(clean, options, seed=5)
    assert heard.dtype == np.int16
    assert len(heard) == len(clean)
    size = 2 * len(clean)
    match = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(clean, size)), size)
    assert match.argmax() == 0
    assert not np.array_equal(heard, clean)


def test_a_seed_decides_noise_and_room(speech):
    clean = speech(3.0)
    first, again, other = (degrade(clean, EVERYTHING, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_asked_for_changes_nothing(speech):
    assert np.array_equal(degrade(speech(1.0), AcousticOptions(noise="pink"), seed=0), speech(1.0))
    silence = np.zeros(5000, dtype=np.int16)
    assert np.array_equal(degrade(silence, EVERYTHING, seed=0), silence)


@given(
    length=st.integers(1, 3000),
    amplitude=st.sampled_from([3, 300, 32767]),
    options=st.builds(
        AcousticOptions,
        snr_db=st.none() | st.floats(-30, 60),
        noise=st.sampled_from(["white", "pink", "speech_shaped"]),
        reverberation_seconds=st.none() | st.floats(0.05, 1),
        telephone=st.booleans(),
    ),
)
def test_any_recording_keeps_its_length(length, amplitude, options):
    clean = np.where(np.arange(length) // 40 % 2, amplitude, -amplitude).astype(np.int16)
    heard = degrade(clean, options, seed=0)
    assert len(heard) == length


@pytest.mark.parametrize("options", [AcousticOptions(snr_db=5), AcousticOptions(reverberation_seconds=0.5)])
def test_a_loud_recording_is_turned_down_rather_than_wrapped_around(speech, options):
    quiet = speech(5.0) // 8
    loud = (quiet * np.float64(32767 / np.abs(quiet.astype(int)).max())).astype(np.int16)
    heard_quiet, heard_loud = (degrade(samples, options, seed=7) for samples in (quiet, loud))
    assert np.corrcoef(heard_quiet, heard_loud)[0, 1] > 0.999


def test_blocks_are_joined_without_a_seam():
    """A minute takes several blocks of the fast convolution: a click in any of them rings the same."""
    clicks = np.zeros(60 * SAMPLE_RATE, dtype=np.int16)
    places = [1000, 32768, 200_001, 524_288, 900_000]
    clicks[places] = 20000
    heard = degrade(clicks, AcousticOptions(reverberation_seconds=0.1), seed=6).astype(int)
    first, *others = (heard[place : place + 1600] for place in places)
    for other in others:
        assert np.abs(other - first).max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"snr_db": float("inf")}, "snr_db is inf: give decibels"),
        ({"snr_db": -40}, "snr_db is -40"),
        ({"reverberation_seconds": 0}, "reverberation_seconds is 0: give 0.05 to 10"),
        ({"reverberation_seconds": float("nan")}, "reverberation_seconds is nan"),
    ],
)
def test_impossible_options_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AcousticOptions(**settings)
