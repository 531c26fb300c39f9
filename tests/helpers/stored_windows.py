"""A recording's windows as the index stores them, made by a plain loop."""

from datetime import UTC, datetime

import numpy as np

from speechprune import SpeechLM
from speechprune.inference.encode import cut_windows, in_encoder_batches
from speechprune.inference.states import StatesDType, store_states, store_times, stored_dtype


def stored_windows(lm: SpeechLM, samples: np.ndarray, states: StatesDType = "float16") -> list[dict]:
    """Rows of ``STATE_COLUMNS``, and when they were made."""

    def encode(windows):
        encoded = lm.model.encode_windows(windows)
        return list(zip(encoded.states, encoded.times, strict=True))

    dtype = stored_dtype(lm.model, states)
    windows = cut_windows(lm.model, samples, 0.0)
    made, _ = in_encoder_batches(lm.model, windows, encode)
    rows = []
    for number, (window, (padded, times)) in enumerate(zip(windows, made, strict=True)):
        own = padded[: len(times)]
        numbers = own if lm.model.states_are_ids else own.float()
        stored, scales = store_states(numbers.numpy(), dtype)
        rows.append(
            {
                "recording": "a.wav",
                "window": number,
                "start_seconds": window.start_seconds,
                "end_seconds": window.start_seconds + len(window.samples) / 16_000,
                "num_tokens": len(times),
                "peak": int(np.abs(window.samples.astype(int)).max(initial=0)),
                "states": stored,
                "dtype": dtype,
                "width": own.shape[-1],
                "scales": scales,
                "norms": lm.model.project(own).norm(dim=-1).tolist(),
                "token_times": store_times(times),
                "indexed_at": datetime.now(UTC),
            }
        )
    return rows
