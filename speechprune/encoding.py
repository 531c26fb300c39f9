"""Recordings to audio embeddings: once per recording, windows of several recordings in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from speechprune.audio import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
    AudioTooShort,
    split_windows,
)
from speechprune.batching import run_in_batches
from speechprune.cost import encode_flops
from speechprune.measure import Stopwatch
from speechprune.models.qwen2_audio import Qwen2Audio

_FILL = (-1, -1, np.zeros(WINDOW_SAMPLES, np.int16))  # stands in for a window in an encoder batch


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
        (i, j, window)
        for i, samples in enumerate(recordings)
        for j, window in enumerate(split_windows(samples))
        if model.num_audio_tokens(len(window)) > 0
    ]
    for i, samples in enumerate(recordings):
        if not any(owner == i for owner, _, _ in windows):
            raise AudioTooShort(
                f"{len(samples) / SAMPLE_RATE * 1000:.0f} ms of sound are less than one audio token"
            )
    embeds: dict[tuple[int, int], torch.Tensor] = {}
    num_encoded = 0  # windows that went through the encoder, fill included
    size = model.encoder_batch_size
    # full windows need no mask and short ones do: in separate batches neither depends on the other
    full_tokens = model.frame_tokens * WINDOW_SECONDS
    for is_full in (True, False):
        kind = [w for w in windows if (model.num_audio_tokens(len(w[2])) == full_tokens) == is_full]
        # batches of one shape only: the same window gives the same embeddings in any company
        padded = kind + [_FILL] * (-len(kind) % size)
        batches = [padded[k : k + size] for k in range(0, len(padded), size)]
        outputs = run_in_batches(batches, lambda batch: model.encode_windows([w for _, _, w in batch]))
        for (i, j, _), S in zip(kind, outputs, strict=False):
            if isinstance(S, Exception):
                raise S
            embeds[i, j] = S
        num_encoded += len(padded)
    seconds_per_window = watch.seconds() / len(windows)
    flops_per_window = encode_flops(model.shape, num_encoded) / len(windows)
    encoded = []
    for i, (samples, start) in enumerate(zip(recordings, start_seconds, strict=True)):
        parts = [embeds[key] for key in sorted(embeds) if key[0] == i]
        encoded.append(
            EncodedAudio(
                embeds=torch.cat(parts),
                times=_token_times([len(part) for part in parts], model.frame_tokens, start),
                seconds=len(samples) / SAMPLE_RATE,
                num_encoder_flops=len(parts) * flops_per_window,
                seconds_encode=len(parts) * seconds_per_window,
            )
        )
    return encoded


def _token_times(window_tokens: list[int], frame_tokens: int, start: float) -> np.ndarray:
    """Begin and end in seconds of every token: windows are 30 s apart, tokens 1 / f."""
    begins = np.concatenate(
        [start + i * WINDOW_SECONDS + np.arange(n) / frame_tokens for i, n in enumerate(window_tokens)]
    )
    return np.stack([begins, begins + 1 / frame_tokens], axis=1)
