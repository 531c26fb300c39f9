"""Windows that end at pauses."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE, split_at_pauses

WINDOW = 10 * SAMPLE_RATE


def talk(seconds: float, *pauses: float) -> np.ndarray:
    """Loud noise with quieter noise for half a second from some moments on."""
    samples = np.random.default_rng(0).integers(-9_000, 9_000, round(seconds * SAMPLE_RATE))
    for pause in pauses:
        samples[round(pause * SAMPLE_RATE) : round((pause + 0.5) * SAMPLE_RATE)] //= 100
    return samples.astype(np.int16)


def test_a_window_ends_in_the_last_pause_of_its_last_seconds():
    parts = list(split_at_pauses(talk(23.0, 3.0, 6.0, 8.5, 16.5), WINDOW))
    ends = np.cumsum([len(part) for part in parts]) / SAMPLE_RATE
    assert 8.5 <= ends[0] <= 9.0  # not in the pause at 6 s
    assert 16.5 <= ends[1] <= 17.0
    assert ends[2:].tolist() == [23.0]
    quiet = np.zeros(WINDOW + 1, np.int16)
    assert [len(part) for part in split_at_pauses(quiet, WINDOW)] == [WINDOW - SAMPLE_RATE // 10, 1_601]


@given(st.integers(0, 60_000), st.integers(6_400, 20_000))
def test_windows_are_the_recording_and_none_is_too_long(num_samples, window_samples):
    samples = talk(num_samples / SAMPLE_RATE)
    parts = list(split_at_pauses(samples, window_samples))
    np.testing.assert_array_equal(np.concatenate([samples[:0], *parts]), samples)
    assert all(0 < len(part) <= window_samples for part in parts)
