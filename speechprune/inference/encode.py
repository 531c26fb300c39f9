"""Recordings to audio embeddings: once per recording, windows of several recordings in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from speechprune.audio import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
    AudioTooShort,
    split_windows,
)
from speechprune.cost import encode_flops
from speechprune.inference.batching import run_in_batches
from speechprune.inference.timing import Stopwatch
from speechprune.models.qwen2_audio import Qwen2Audio

Encoded = TypeVar("Encoded")
_FILL = np.zeros(WINDOW_SAMPLES, np.int16)  # stands in for a window in an encoder batch


@dataclass(frozen=True)
class EncodedAudio:
    """A recording as the LLM takes it; ask it as many questions as you like.

    Parameters
    ----------
    embeds
        S, shape ``(N, D)``, on the model's device.
    times
        Begin and end of each token in seconds of the recording, float64, shape ``(N, 2)``.
    seconds
        Length of the audio that was encoded.
    num_encoder_flops
        What encoding cost, with its share of windows that filled up a batch.
    seconds_encode
        Its share of the time that encoding took.
    """

    embeds: torch.Tensor
    times: np.ndarray
    seconds: float
    num_encoder_flops: float
    seconds_encode: float


def encode_recordings(
    model: Qwen2Audio, recordings: Sequence[np.ndarray], start_seconds: Sequence[float]
) -> list[EncodedAudio]:
    """Encode recordings together.

    Every recording is cut into 30 s windows; each window is encoded on its own and its tokens
    follow one another in one audio span, the padded tail dropped.

    Parameters
    ----------
    model
        The adapter.
    recordings
        int16 samples at 16 kHz of each recording.
    start_seconds
        Where in its file each recording begins: ``times`` count from the file's beginning.

    Raises
    ------
    AudioTooShort
        A recording is too short for a single token.
    torch.cuda.OutOfMemoryError
        One window alone does not fit.
    """
    if not recordings:
        return []
    watch = Stopwatch(model.device)
    windows = [
        (i, window)
        for i, samples in enumerate(recordings)
        for window in split_windows(samples)
        if model.num_audio_tokens(len(window)) > 0
    ]
    for i, samples in enumerate(recordings):
        if not any(owner == i for owner, _ in windows):
            raise AudioTooShort(
                f"{len(samples) / SAMPLE_RATE * 1000:.0f} ms of sound are less than one audio token"
            )
    embeds, num_encoded = in_encoder_batches(model, [window for _, window in windows], model.encode_windows)
    seconds_per_window = watch.seconds() / len(windows)
    flops_per_window = encode_flops(model.shape, num_encoded) / len(windows)
    encoded = []
    for i, (samples, start) in enumerate(zip(recordings, start_seconds, strict=True)):
        parts = [S for (owner, _), S in zip(windows, embeds, strict=True) if owner == i]
        encoded.append(
            EncodedAudio(
                embeds=torch.cat(parts),
                times=token_times([len(part) for part in parts], model.frame_tokens, start),
                seconds=len(samples) / SAMPLE_RATE,
                num_encoder_flops=len(parts) * flops_per_window,
                seconds_encode=len(parts) * seconds_per_window,
            )
        )
    return encoded


def in_encoder_batches(
    model: Qwen2Audio,
    windows: Sequence[np.ndarray],
    encode: Callable[[list[np.ndarray]], Iterable[Encoded]],
) -> tuple[list[Encoded], int]:
    """Windows through the encoder in batches of one shape, so that none depends on its company.

    Parameters
    ----------
    windows
        int16 samples, each of 30 s at most.
    encode
        What is made of each window of a batch, such as ``model.encode_windows``.

    Returns
    -------
    tuple
        What was made of each window, in order, and the number of windows that went through the encoder, those
        that filled up a batch included.

    Raises
    ------
    torch.cuda.OutOfMemoryError
        One window alone does not fit.
    """
    outputs: dict[int, Encoded] = {}
    num_encoded = 0
    size = model.encoder_batch_size
    # full windows need no mask and short ones do: in separate batches neither depends on the other
    is_full = [model.num_audio_tokens(len(window)) == model.window_tokens for window in windows]
    for kind in (True, False):
        indices = [i for i, full in enumerate(is_full) if full == kind]
        padded = [windows[i] for i in indices] + [_FILL] * (-len(indices) % size)
        batches = [padded[k : k + size] for k in range(0, len(padded), size)]
        for i, output in zip(indices, run_in_batches(batches, lambda b: list(encode(b))), strict=False):
            if isinstance(output, Exception):
                raise output
            outputs[i] = output
        num_encoded += len(padded)
    return [outputs[i] for i in range(len(windows))], num_encoded


def token_times(window_tokens: list[int], frame_tokens: int, start: float) -> np.ndarray:
    """Begin and end in seconds of every token: windows are 30 s apart, tokens 1 / f."""
    begins = np.concatenate(
        [start + i * WINDOW_SECONDS + np.arange(n) / frame_tokens for i, n in enumerate(window_tokens)]
    )
    return np.stack([begins, begins + 1 / frame_tokens], axis=1)
