"""Encoder states to stored bytes and back: float16, int8 with a scale a token, or token ids in int32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from speechprune.audio import SILENCE_PEAK, AudioSilent
from speechprune.inference.encode import EncodedAudio, no_tokens
from speechprune.inference.timing import Timer
from speechprune.models.base import SpeechModel
from speechprune.models.staging import staging_zeros

StatesDType = Literal["float16", "int8"]
StoredDType = Literal["float16", "int8", "int32"]
INT8_STEPS = 127
# of a stored window, beside its states and their scales
SMALL_COLUMNS = (
    "recording",
    "start_seconds",
    "end_seconds",
    "num_tokens",
    "peak",
    "dtype",
    "width",
    "token_times",
)


def stored_dtype(model: SpeechModel, states: StatesDType) -> StoredDType:
    """Choose how a model's states are stored: as asked for, but token ids as whole numbers."""
    return "int32" if model.states_are_ids else states


def store_states(states: np.ndarray, dtype: StoredDType) -> tuple[bytes, np.ndarray | None]:
    """A window's states as bytes.

    int8: q_ij = round(x_ij / scale_i) with scale_i = max_j |x_ij| / 127, and at least the smallest normal
    float32, so that no state is off by more than half a scale. float16 holds bfloat16's numbers exactly
    between 6·10⁻⁵ and 65,504, where states are; int32 holds token ids.

    Parameters
    ----------
    states
        x, float32, shape ``(tokens, d)``; of ids int32.

    Returns
    -------
    tuple
        The bytes, and the scales, float32 ``(tokens,)``; None but for int8.
    """
    if dtype == "int32":
        return states.astype("<i4").tobytes(), None
    if dtype == "float16":
        limit = np.finfo(np.float16).max
        return np.clip(states, -limit, limit).astype("<f2").tobytes(), None
    scales = np.maximum(np.abs(states).max(axis=1) / INT8_STEPS, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(states / scales[:, None]).astype(np.int8).tobytes(), scales


def load_states(window: dict[str, Any]) -> np.ndarray:
    """The inverse of ``store_states``, of a row of the index: float32, of ids int32, ``(tokens, d)``."""
    if window["dtype"] == "int32":
        return _stored(window)
    states = _stored(window).astype(np.float32)
    if window["scales"] is not None:
        states *= np.asarray(window["scales"], np.float32)[:, None]
    return states


def _stored(window: dict[str, Any]) -> np.ndarray:
    """The stored numbers without their scales, shape ``(tokens, d)``."""
    dtype = {"float16": "<f2", "int8": "<i1", "int32": "<i4"}[window["dtype"]]
    stored = np.frombuffer(window["states"], dtype)
    return stored.reshape(window["num_tokens"], window["width"])


def load_token_ids(windows: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """Token ids of a recording's windows, where the index stores those, ``(tokens,)``; else None."""
    if any(window["dtype"] != "int32" for window in windows):
        return None
    return np.concatenate([_stored(window)[:, 0] for window in windows])


def store_times(times: np.ndarray) -> bytes:
    """Start and end of a window's tokens, ``(tokens, 2)``, as bytes: little-endian float64."""
    return times.astype("<f8").tobytes()


def load_times(window: dict[str, Any]) -> np.ndarray:
    """The inverse of ``store_times``, of a row of the index."""
    return np.frombuffer(window["token_times"], "<f8").reshape(-1, 2)


def embed_stored(model: SpeechModel, recordings: Sequence[pa.Table]) -> list[EncodedAudio]:
    """Stored windows to what the LLM takes: the projector's part of ``encode_recordings``.

    Parameters
    ----------
    recordings
        Rows of ``STATE_COLUMNS`` of each recording, in the order of its windows.

    Raises
    ------
    AudioSilent, AudioTooShort, AudioWithoutSpeech
        As the recording itself would.
    """
    encoded = []
    for table in recordings:
        timer = Timer(model.device)
        recording = str(table["recording"][0])
        seconds = table["end_seconds"][-1].as_py() - table["start_seconds"][0].as_py()
        if max(table["peak"].to_pylist()) < SILENCE_PEAK:
            raise AudioSilent(
                f"{recording} is silent throughout: check the microphone or the channel it was taken from"
            )
        windows = _rows_with_tokens(table)
        if not windows:
            raise no_tokens(model, recording, seconds)
        parts, num_projected = _project(model, windows)
        embeds = torch.cat(parts)
        timer.stop()
        times = np.concatenate([load_times(window) for window in windows])
        encoded.append(
            EncodedAudio(
                embeds=embeds,
                times=times,
                frame_starts=model.frame_starts(times),
                seconds=seconds,
                num_encoder_flops=model.shape.encoder.project_flops(num_projected),
                token_ids=load_token_ids(windows),
                encode_timer=timer,
            )
        )
    return encoded


def _rows_with_tokens(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of windows that have a token; states and scales stay where Arrow holds them."""
    rows = table.select(SMALL_COLUMNS).to_pylist()
    for row, states, scales in zip(rows, table["states"], table["scales"], strict=True):
        row["states"], row["scales"] = states.as_buffer(), scales.values if scales.is_valid else None
    return [row for row in rows if row["num_tokens"]]


def _project(model: SpeechModel, windows: Sequence[dict[str, Any]]) -> tuple[list[torch.Tensor], int]:
    """S of each window, and how many windows were projected, those that filled up a batch included.

    Padded to full windows in batches of one shape: the same numbers as straight from the encoder.
    """
    size = model.encoder_batch_size
    embeds = []
    most = max(model.shape.encoder.window_tokens, max(window["num_tokens"] for window in windows))
    for begin in range(0, len(windows), size):
        batch = windows[begin : begin + size]
        projected = model.project(_upload_states(batch, (size, most), model.projector[0].device))
        embeds += [projected[i, : window["num_tokens"]] for i, window in enumerate(batch)]
    return embeds, -(-len(windows) // size) * size


def _upload_states(
    windows: Sequence[dict[str, Any]], shape: tuple[int, int], device: torch.device
) -> torch.Tensor:
    """Copy the stored bytes of some windows and convert them on the device: float32 or ids, ``(*shape, d)``.

    - ``shape``: at least the number of windows and of their tokens; the rest is zero.
    """
    dtype = getattr(torch, windows[0]["dtype"])
    stored = staging_zeros((*shape, windows[0]["width"]), dtype, device)
    scales = staging_zeros((*shape, 1), torch.float32, device)
    for i, window in enumerate(windows):
        num_tokens = window["num_tokens"]
        stored.numpy()[i, :num_tokens] = _stored(window)
        if window["scales"] is not None:
            scales.numpy()[i, :num_tokens, 0] = window["scales"]
    states = stored.to(device, non_blocking=True)
    if dtype == torch.int32:
        return states
    states = states.float()
    return states if dtype == torch.float16 else states.mul_(scales.to(device, non_blocking=True))
