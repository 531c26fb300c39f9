"""What a trained connector recognises: held-out texts in held-out voices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rapidfuzz.distance import Levenshtein

from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.script import Script
from speechprune.benchmarks.builder.speech import WORD_PATTERN
from speechprune.lab.connector.config import ConnectorConfig
from speechprune.lab.connector.objective import best_path
from speechprune.lab.connector.speakers import WindowSpeaker
from speechprune.lab.connector.start import Start
from speechprune.lab.connector.windows import frame_labels
from speechprune.models.ctc import BLANK
from speechprune.models.log_mel import LogMel

NUM_WINDOWS = 60


@dataclass(frozen=True)
class Recognition:
    """Counts over the windows, and the first one's text beside what was recognised."""

    num_frames: int  # with a token
    num_frames_right: int
    num_words: int
    num_word_errors: int
    example: tuple[str, str]


@torch.inference_mode()
def measure(start: Start, held_out: Sequence[Script], config: ConnectorConfig) -> Recognition:
    """Count right frames and wrong words, in clean speech of voices and texts that were not trained on."""
    rng = random.Random("held-out windows")
    speaker = WindowSpeaker(held_out, Espeak(), "held_out", config.speech)
    device = torch.device(config.run.device)
    log_mel = LogMel(start.extractor, device)
    counts = [0, 0, 0, 0]
    example = ("", "")
    for _ in range(NUM_WINDOWS):
        spoken = speaker.speak(rng)
        tokens = start.tokenizer(spoken.text, return_offsets_mapping=True)
        classes = start.class_of[torch.tensor(tokens["input_ids"], dtype=torch.long)].tolist()
        labels = frame_labels(spoken, classes, tokens["offset_mapping"])
        logits = start.objective.logits(log_mel([spoken.samples]))[0].cpu()
        recognised = start.text_of(best_path(logits))
        example = example if example[0] else (spoken.text, recognised)
        has_token = labels > BLANK
        expected, found = words_of(spoken.text), words_of(recognised)
        counts[0] += int(has_token.sum())
        counts[1] += int((logits.argmax(-1) == labels)[has_token].sum())
        counts[2] += len(expected)
        counts[3] += Levenshtein.distance(expected, found)
    num_frames, frames_right, num_words, word_errors = counts
    return Recognition(num_frames, frames_right, num_words, word_errors, example)


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return WORD_PATTERN.findall(text.lower())
