"""Size of an index before there is one: of an example of its windows that is compressed as they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from speechprune.cost import ModelShape
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import as_windows_file
from speechprune.inference.states import StatesDType, store_states, store_times
from speechprune.models.options import ModelOptions, resolve_dtype

NUM_TOKEN_IDS = 50_000  # of a language model's vocabulary, about


def index_bytes_per_second(
    model: ModelOptions, shape: ModelShape, stored: StatesDType, part_seconds: float
) -> float:
    """Return the bytes that a second of audio takes in a new index, if its states compress as noise does.

    Parameters
    ----------
    model, shape
        Computes the states in ``model.dtype``, ``auto`` as on this machine's CPU: bfloat16's numbers take
        fewer bytes as float16 than float32's, as their last bits are zeros.
    stored
        Type of the stored states, unless these are token ids.
    part_seconds
        Length of the parts that recordings are encoded in.
    """
    computed = resolve_dtype(model.dtype, "cpu")
    window_seconds = min(shape.encoder.window_seconds, part_seconds)
    num_windows = math.ceil(part_seconds / window_seconds)
    rng = np.random.default_rng(0)
    rows = [_window(rng, shape, computed, stored, number, window_seconds) for number in range(num_windows)]
    example = as_windows_file(pa.Table.from_pylist(rows, WINDOWS_SCHEMA))
    return len(example) / (window_seconds * num_windows)


def _window(
    rng: np.random.Generator,
    shape: ModelShape,
    computed: torch.dtype,
    stored: StatesDType,
    number: int,
    seconds: float,
) -> dict[str, Any]:
    """Return a row whose numbers compress as those of real speech do."""
    num_tokens, width = max(1, round(shape.token_rate * seconds)), shape.encoder.states_size
    if width == 1:
        states, scales = store_states(rng.integers(NUM_TOKEN_IDS, size=(num_tokens, 1)), "int32")
    else:
        noise = torch.from_numpy(rng.standard_normal((num_tokens, width), np.float32)).to(computed)
        states, scales = store_states(noise.float().numpy(), stored)
    starts = (number + np.arange(num_tokens) / num_tokens) * seconds
    filled = {
        field.name: "text" if pa.types.is_string(field.type) else int(rng.integers(100))
        for field in WINDOWS_SCHEMA
    }
    return filled | {
        "shard": 0,
        "states": states,
        "scales": scales,
        "norms": rng.standard_normal(num_tokens, np.float32),
        "token_times": store_times(np.stack([starts, starts + seconds / num_tokens], axis=1)),
    }
