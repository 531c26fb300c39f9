"""Spoken windows to train on: rendered while training goes on, each from its number alone."""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from speechprune.benchmarks.builder.acoustics import AcousticOptions, Noise, degrade
from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.piper_speech import PiperOptions, PiperSpeech
from speechprune.benchmarks.builder.script import Script
from speechprune.benchmarks.builder.speech import Synthesizer
from speechprune.lab.connector.config import SpeechOptions
from speechprune.lab.connector.speakers import WINDOW_SECONDS, Spoken, WindowSpeaker
from speechprune.models.ctc import BLANK, FRAMES_PER_SECOND
from speechprune.models.log_mel import LogMel

NUM_FRAMES = round(WINDOW_SECONDS * FRAMES_PER_SECOND)
IGNORED = -100
MAX_MASKED_MEL_FRAMES, MAX_MASKED_MEL_BINS, NUM_MASKS = 40, 12, 3


class WindowBatch(NamedTuple):
    """A batch of windows."""

    features: torch.Tensor  # (windows, mel bins, mel frames)
    frame_labels: torch.Tensor  # class at each frame, ``IGNORED`` where it isn't known: (windows, frames)
    targets: torch.Tensor  # tokens of all windows, one behind another
    target_lengths: torch.Tensor  # (windows,)

    def to(self, device: torch.device) -> WindowBatch:
        """Return a copy on another device."""
        return WindowBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


def acoustics(rng: random.Random, options: SpeechOptions) -> AcousticOptions:
    """Draw the conditions of a window."""
    noisy, room = rng.random() < options.noisy_share, rng.random() < options.room_share
    return AcousticOptions(
        snr_db=rng.uniform(options.min_snr_db, options.max_snr_db) if noisy else None,
        noise=rng.choice(get_args(Noise)),
        reverberation_seconds=rng.uniform(0.1, 0.6) if room else None,
        telephone=rng.random() < options.telephone_share,
    )


def training_sources(options: SpeechOptions) -> list[Synthesizer]:
    """Who speaks: espeak-ng, and Piper where it has voices."""
    sources: list[Synthesizer] = [Espeak()]
    if options.piper:
        sources.append(PiperSpeech(PiperOptions(female=options.piper, male=options.piper)))
    return sources


class SpokenWindows(Dataset):
    """Windows by number: features and target tokens."""

    def __init__(
        self,
        scripts: Sequence[Script],
        options: SpeechOptions,
        extractor: Any,
        tokenizer: Any,
        class_of: torch.Tensor,
        seed: int,
    ) -> None:
        self._scripts, self._options, self._seed = scripts, options, seed
        self._extractor, self._tokenizer, self._class_of = extractor, tokenizer, class_of
        self._speakers: list[WindowSpeaker] = []  # made in the process that speaks: espeak-ng has one state

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Features, float32 ``(mel bins, mel frames)``; class of each frame; classes of the tokens."""
        rng = random.Random(f"window {self._seed} {number}")
        if not self._speakers:
            torch.set_num_threads(1)
            self._speakers = [
                WindowSpeaker(self._scripts, source, "training", self._options)
                for source in training_sources(self._options)
            ]
            self._log_mel = LogMel(self._extractor, torch.device("cpu"))
        is_piper = rng.random() < self._options.piper_share  # drawn with and without Piper
        spoken = self._speakers[is_piper and len(self._speakers) > 1].speak(rng)
        loudness = rng.uniform(0.2, 1.0)
        samples = (spoken.samples * loudness).astype(np.int16)
        samples = degrade(samples, acoustics(rng, self._options), rng.randrange(1 << 30))
        features = self._log_mel([samples])[0].clone()
        tokens = self._tokenizer(spoken.text, return_offsets_mapping=True)
        classes = self._class_of[torch.tensor(tokens["input_ids"], dtype=torch.long)].tolist()
        labels = frame_labels(spoken, classes, tokens["offset_mapping"])
        return mask(features, rng), labels, [place for place in classes if place != BLANK]


def frame_labels(spoken: Spoken, classes: Sequence[int], offsets: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Class of the token that is spoken at each frame, ``BLANK`` in pauses: ``(frames,)``.

    The characters of a word are spread evenly over its time.
    """
    if not spoken.words:
        return torch.full((NUM_FRAMES,), IGNORED)
    labels = torch.full((NUM_FRAMES,), BLANK)
    firsts = [word.first for word in spoken.words]
    for place, (begin, end) in zip(classes, offsets, strict=True):
        begin += spoken.text[begin:end].startswith(" ")
        word = spoken.words[max(0, bisect_right(firsts, begin) - 1)]
        if not word.first <= begin < word.end:
            continue  # punctuation
        rate = (word.end_seconds - word.start_seconds) / (word.end - word.first)
        start, stop = (
            round((word.start_seconds + (min(at, word.end) - word.first) * rate) * FRAMES_PER_SECOND)
            for at in (begin, end)
        )
        labels[start:stop] = place
    return labels


def mask(features: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Hide some short times and some mel bins (SpecAugment)."""
    num_bins, num_frames = features.shape
    fill = features.mean()
    for _ in range(NUM_MASKS):
        width = rng.randrange(MAX_MASKED_MEL_BINS + 1)
        begin = rng.randrange(num_bins - width + 1)
        features[begin : begin + width] = fill
        width = rng.randrange(MAX_MASKED_MEL_FRAMES + 1)
        begin = rng.randrange(num_frames - width + 1)
        features[:, begin : begin + width] = fill
    return features


def collate(items: list[tuple[torch.Tensor, torch.Tensor, list[int]]]) -> WindowBatch:
    """Make a batch of windows."""
    return WindowBatch(
        features=torch.stack([features for features, _, _ in items]),
        frame_labels=torch.stack([labels for _, labels, _ in items]),
        targets=torch.tensor([place for _, _, classes in items for place in classes]),
        target_lengths=torch.tensor([len(classes) for _, _, classes in items]),
    )


def batches(windows: SpokenWindows, first_step: int, num_steps: int, size: int) -> DataLoader:
    """Batches of the steps from ``first_step`` on, rendered by other processes: half as many as CPUs."""
    return DataLoader(
        windows,
        batch_size=size,
        sampler=range(first_step * size, num_steps * size),
        num_workers=max(1, len(os.sched_getaffinity(0)) // 2),
        collate_fn=collate,
        prefetch_factor=4,
    )
