"""Encode recordings to audio embeddings: once per recording, windows of several recordings in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from speechprune.audio import (
    SAMPLE_RATE,
    AudioError,
    AudioTooShort,
    Speech,
    split_at_pauses,
    split_windows,
    without_speech,
)
from speechprune.cost import encode_flops
from speechprune.inference.batching import run_in_batches
from speechprune.inference.encoding_options import Cut
from speechprune.inference.timing import Timer
from speechprune.models.base import EmbeddedWindow, SpeechModel, Window

Encoded = TypeVar("Encoded")


@dataclass(frozen=True)
class EncodedAudio:
    """A recording as the LLM takes it; ask it as many questions as you like.

    Parameters
    ----------
    embeds
        S, shape ``(N, D)``, on the model's device.
    times
        Start and end of each token in seconds of the recording, float64, shape ``(N, 2)``.
    frame_starts
        Budget frames of phase 1, see ``SpeechModel.frame_starts``.
    seconds
        Length of the recording, with the silence that was left out of its windows.
    num_encoder_flops
        What encoding cost, with its share of windows that filled up a batch.
    token_ids
        Of a model that writes down what is spoken: the ids of the text's tokens, shape ``(N,)``; else None.
    encode_timer, time_share
        Of all recordings that were encoded together, and this one's share of it; no timer where nothing was
        encoded.
    """

    embeds: torch.Tensor
    times: np.ndarray
    frame_starts: np.ndarray
    seconds: float
    num_encoder_flops: float
    token_ids: np.ndarray | None = None
    encode_timer: Timer | None = None
    time_share: float = 1.0

    @property
    def seconds_encode(self) -> float:
        """Its share of the time that encoding took; on a GPU this waits until it is over."""
        return 0.0 if self.encode_timer is None else self.time_share * self.encode_timer.seconds()

    def __repr__(self) -> str:
        return (
            f"EncodedAudio({self.seconds:.1f} s, {len(self.embeds):,} audio tokens of {self.embeds.shape[1]})"
        )

    def _repr_html_(self) -> str:
        """Show the recording in a notebook."""
        return (
            f"<b>Encoded audio</b>: {self.seconds:.1f} s, {len(self.embeds):,} audio tokens, encoded in "
            f"{self.seconds_encode:.2f} s for {self.num_encoder_flops / 1e12:.3g} TFLOPs"
        )


def cut_windows(
    model: SpeechModel, samples: np.ndarray, start_seconds: float, cut: Cut = "fixed"
) -> list[Window]:
    """Cut a recording into the model's windows; the last may be short, and all that end at a pause.

    - ``samples``: int16 at 16 kHz.
    - ``start_seconds``: where in its file the recording starts.
    """
    if cut == "fixed":
        return [
            Window(window, start_seconds + number * model.window_seconds)
            for number, window in enumerate(split_windows(samples, model.window_samples))
        ]
    parts = list(split_at_pauses(samples, model.window_samples))
    ends = np.cumsum([len(part) for part in parts])
    return [
        Window(part, start_seconds + float(end - len(part)) / SAMPLE_RATE)
        for part, end in zip(parts, ends, strict=True)
    ]


def encode_recordings(
    model: SpeechModel,
    recordings: Sequence[np.ndarray],
    start_seconds: Sequence[float],
    *,
    speech: Sequence[Speech | None] | None = None,
    cut: Cut = "fixed",
) -> list[EncodedAudio]:
    """Encode recordings together.

    Every recording is cut into windows; each window is encoded on its own and its tokens follow one another
    in one audio span, the padded tail dropped.

    Parameters
    ----------
    recordings
        int16 samples at 16 kHz of each recording.
    start_seconds
        Where in its file each recording starts: ``times`` count from the file's beginning.
    speech
        Places of each recording's samples where its silence was left out, as ``decode_speech`` returns them;
        None where it was not.
    cut
        Where windows end, see ``EncodingOptions``.

    Raises
    ------
    AudioTooShort, AudioWithoutSpeech
        A recording gives not a single token.
    torch.cuda.OutOfMemoryError
        One window alone does not fit.
    """
    if not recordings:
        return []
    timer = Timer(model.device)
    places = speech or [None] * len(recordings)
    seconds = [
        (len(samples) if own is None else own.num_samples) / SAMPLE_RATE
        for samples, own in zip(recordings, places, strict=True)
    ]
    windows = [
        (i, window)
        for i, (samples, start) in enumerate(zip(recordings, start_seconds, strict=True))
        for window in cut_windows(model, samples, start, cut)
        if len(window.samples) >= model.min_window_samples
    ]
    made, num_encoded = in_encoder_batches(model, [window for _, window in windows], model.embed_windows)
    parts: list[list[EmbeddedWindow]] = [[] for _ in recordings]
    for (i, _), part in zip(windows, made, strict=True):
        parts[i].append(part)
    for length, own in zip(seconds, parts, strict=True):
        if not any(len(part.embeds) for part in own):
            raise no_tokens(model, "", length)
    embeds = [torch.cat([part.embeds for part in own]) for own in parts]
    times = [
        own if kept is None else kept.to_recording(own, start)
        for own, kept, start in zip(map(_join_times, parts), places, start_seconds, strict=True)
    ]
    frame_starts = [model.frame_starts(own_times) for own_times in times]
    timer.stop()  # nothing here waits for a GPU
    flops_per_window = encode_flops(model.shape, num_encoded) / len(windows)
    return [
        EncodedAudio(
            embeds=embeds[i],
            times=times[i],
            frame_starts=frame_starts[i],
            seconds=seconds[i],
            num_encoder_flops=len(parts[i]) * flops_per_window + sum(part.extra_flops for part in parts[i]),
            token_ids=_join_ids(parts[i]),
            encode_timer=timer,
            time_share=len(parts[i]) / len(windows),
        )
        for i in range(len(recordings))
    ]


def _join_times(parts: Sequence[EmbeddedWindow]) -> np.ndarray:
    return np.concatenate([part.times for part in parts])


def _join_ids(parts: Sequence[EmbeddedWindow]) -> np.ndarray | None:
    ids = [part.token_ids for part in parts if part.token_ids is not None]
    return np.concatenate(ids) if ids else None


def no_tokens(model: SpeechModel, recording: str, seconds: float) -> AudioError:
    """Say why a recording gave not a single token; without its name where the caller adds it."""
    if seconds * SAMPLE_RATE < model.min_window_samples:
        of = f" of {recording}" if recording else ""
        return AudioTooShort(f"{seconds * 1000:.0f} ms of sound{of} are less than one audio token")
    return without_speech(recording, seconds)


def in_encoder_batches(
    model: SpeechModel, windows: Sequence[Window], encode: Callable[[list[Window]], Iterable[Encoded]]
) -> tuple[list[Encoded], int]:
    """Run windows through the encoder in batches of one shape, so that none depends on the others.

    Parameters
    ----------
    windows
        Each of at most ``window_samples``.
    encode
        What is made of each window of a batch, such as ``model.embed_windows``.

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
    fill = Window(np.zeros(model.window_samples, np.int16), 0.0)
    # full windows need no mask and short ones do: in separate batches neither depends on the other
    is_full = [len(window.samples) >= model.full_window_samples for window in windows]
    for kind in (True, False):
        size = model.encoder_batch_size if kind or model.short_windows_share_batches else 1
        indices = [i for i, full in enumerate(is_full) if full == kind]
        padded = [windows[i] for i in indices] + [fill] * (-len(indices) % size)
        batches = [padded[k : k + size] for k in range(0, len(padded), size)]
        for i, output in zip(indices, run_in_batches(batches, lambda b: list(encode(b))), strict=False):
            if isinstance(output, Exception):
                raise output
            outputs[i] = output
        num_encoded += len(padded)
    return [outputs[i] for i in range(len(windows))], num_encoded
