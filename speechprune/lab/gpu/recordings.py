"""Recordings that are made, not decoded, and their windows as an index stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune.audio import SAMPLE_RATE
from speechprune.inference.encode import cut_windows, in_encoder_batches
from speechprune.inference.states import store_states, store_times
from speechprune.lab.gpu.sizes import Case
from speechprune.models.base import SpeechModel, Window


def make_samples(seconds: float, seed: int) -> np.ndarray:
    """A tone that glides and swells in noise, int16 at 16 kHz: no window is silent, none equals another."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * (200 + 3 * time + 10 * seed) * time) * (0.5 + 0.5 * np.sin(time))
    noise = generator.standard_normal(len(time), dtype=np.float32)
    return (3000 * tone + 500 * noise).astype(np.int16)


class Recordings:
    """The recordings of a case; what is stored of them is made when it is first asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.samples = [make_samples(case.seconds, seed) for seed in range(case.num_recordings)]
        self._stored: list[pa.Table] = []

    def stored(self, model: SpeechModel) -> list[pa.Table]:
        """Each recording's windows as the index holds them, in float16."""
        if not self._stored:
            self._stored = [_store(model, samples) for samples in self.samples]
        return self._stored


def _store(model: SpeechModel, samples: np.ndarray) -> pa.Table:
    def encode(batch: Sequence[Window]) -> list[tuple[np.ndarray, np.ndarray]]:
        encoded = model.encode_windows(batch)
        return list(zip(encoded.states.float().cpu().numpy(), encoded.times, strict=True))

    windows = cut_windows(model, samples, 0.0)
    made, _ = in_encoder_batches(model, windows, encode)
    rows: list[dict[str, Any]] = []
    for number, (window, (states, times)) in enumerate(zip(windows, made, strict=True)):
        data, scales = store_states(states[: len(times)], "float16")
        rows.append(
            {
                "recording": "made",
                "window": number,
                "start_seconds": window.start_seconds,
                "end_seconds": window.start_seconds + len(window.samples) / SAMPLE_RATE,
                "num_tokens": len(times),
                "peak": int(np.abs(window.samples.astype(int)).max()),
                "states": data,
                "dtype": "float16",
                "width": states.shape[-1],
                "scales": scales,
                "token_times": store_times(times),
            }
        )
    return pa.Table.from_pylist(rows)
