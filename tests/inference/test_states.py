"""What is stored of a window, and what comes back: the same embeddings as straight from the encoder."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from speechprune.audio import AudioSilent, AudioTooShort, AudioWithoutSpeech
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.inference.encode import encode_recordings
from speechprune.inference.states import embed_stored, load_states, load_times, store_states, store_times
from tests.helpers.stored_windows import stored_windows

STATES = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 20), st.integers(1, 12)),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


def loaded(states: np.ndarray, dtype: str) -> np.ndarray:
    stored, scales = store_states(states, dtype)
    num_tokens, width = states.shape
    assert len(stored) == states.size * {"float16": 2, "int8": 1}[dtype]
    return load_states(
        {"states": stored, "dtype": dtype, "num_tokens": num_tokens, "width": width, "scales": scales}
    )


@given(STATES)
def test_float16_holds_bfloat16_numbers_exactly(states):
    states = torch.from_numpy(states).bfloat16().float().numpy()
    normal = np.where(np.abs(states) < 2**-14, 0, states)
    np.testing.assert_array_equal(loaded(normal, "float16"), normal)


@given(STATES)
@example(np.array([[np.finfo(np.float32).tiny]], np.float32))  # a 127th of it is no normal number
def test_int8_is_off_by_half_a_step_at_most(states):
    steps = np.maximum(np.abs(states).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    assert (np.abs(loaded(states, "int8") - states) <= steps / 2 * (1 + 1e-4)).all()


@given(npst.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(2)), elements=st.floats(0, 1e5)))
def test_times_come_back_to_the_bit(times):
    np.testing.assert_array_equal(load_times({"token_times": store_times(times)}), times)


def stored_rows(lm, samples: np.ndarray, dtype: str = "float16") -> pa.Table:
    return pa.Table.from_pylist(stored_windows(lm, samples, dtype), WINDOWS_SCHEMA)


@pytest.mark.parametrize("seconds", [4.0, 30.0, 71.3])
def test_stored_windows_are_what_the_encoder_gives(tiny_lm, speech, seconds):
    samples = speech(seconds)
    [direct] = encode_recordings(tiny_lm.model, [samples], [0.0])
    [stored] = embed_stored(tiny_lm.model, [stored_rows(tiny_lm, samples)])
    torch.testing.assert_close(stored.embeds, direct.embeds, atol=2e-3, rtol=2e-3)  # float32 to float16
    np.testing.assert_array_equal(stored.times, direct.times)
    np.testing.assert_array_equal(stored.frame_starts, direct.frame_starts)
    assert stored.seconds == pytest.approx(direct.seconds)
    assert stored.num_encoder_flops < direct.num_encoder_flops / 100


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_states_are_converted_on_the_device_as_they_are_loaded(tiny_lm, speech, dtype):
    """To the bit, in batches of windows of which the last is short, beside a window without a token."""
    model, rows = tiny_lm.model, stored_rows(tiny_lm, speech(71.3), dtype)
    windows = rows.to_pylist()
    shape = (model.encoder_batch_size, model.shape.encoder.window_tokens, windows[0]["width"])
    expected = []
    for begin in range(0, len(windows), model.encoder_batch_size):
        batch = windows[begin : begin + model.encoder_batch_size]
        states = torch.zeros(shape)
        for i, window in enumerate(batch):
            states[i, : window["num_tokens"]] = torch.from_numpy(load_states(window))
        projected = model.project(states)
        expected += [projected[i, : window["num_tokens"]] for i, window in enumerate(batch)]
    empty = windows[0] | {"num_tokens": 0, "states": b"", "scales": None, "token_times": b""}
    table = pa.concat_tables([rows, pa.Table.from_pylist([empty], WINDOWS_SCHEMA)])
    [stored] = embed_stored(model, [table])
    assert torch.equal(stored.embeds, torch.cat(expected))


def test_a_windowless_or_silent_recording_fails_as_it_would_itself(tiny_lm, speech):
    rows = stored_rows(tiny_lm, speech(4.0))
    silent = rows.set_column(rows.column_names.index("peak"), "peak", pa.array([2], pa.int32()))
    with pytest.raises(AudioSilent, match=r"a.wav is silent throughout"):
        embed_stored(tiny_lm.model, [silent])
    empty = rows.set_column(rows.column_names.index("num_tokens"), "num_tokens", pa.array([0], pa.int32()))
    with pytest.raises(AudioWithoutSpeech, match=r"no speech was found in 4\.0 s of sound of a.wav"):
        embed_stored(tiny_lm.model, [empty])
    short = empty.set_column(rows.column_names.index("end_seconds"), "end_seconds", pa.array([0.02]))
    with pytest.raises(AudioTooShort, match=r"20 ms of sound of a.wav are less than one audio token"):
        embed_stored(tiny_lm.model, [short])
