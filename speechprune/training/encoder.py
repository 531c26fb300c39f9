"""The encoder's lesson: put the embedding of each word where the word is heard.

The audio encoder and the projector are trained frame by frame: at the last audio tokens of a word the
embedding must point to the word's row of the fixed table, elsewhere to the blank. Phonemes, heard at a lower
layer, are a second lesson that makes the first one quicker.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import nn
from torch.nn import functional

from speechprune.audio import WINDOW_SECONDS
from speechprune.training.config import EncoderRecipe
from speechprune.training.corpus import BLANK, Corpus
from speechprune.training.phones import NUM_PHONES
from speechprune.training.progress import LessonProgress
from speechprune.training.schedule import MasterWeights, learning_rate
from speechprune.training.word_table import NORM

MEL_FRAMES_PER_TOKEN = 4
COSINE_SCALE = 16.0
BLANK_WEIGHT = 0.35  # four of five tokens are blank
NORM_WEIGHT = 0.02
PHONE_WEIGHT = 0.5
MAX_MASKED_MEL_FRAMES, MAX_MASKED_MEL_BINS = 25, 12


@dataclass
class Crops:
    """A batch of equally long pieces of windows."""

    features: torch.Tensor  # (batch, mel bins, mel frames)
    word_labels: torch.Tensor  # (batch, audio tokens)
    phone_labels: torch.Tensor  # (batch, 2 * audio tokens)
    positions: torch.Tensor  # where in the 30 s window the encoder is told that the pieces lie, as indices


def draw_crops(corpus: Corpus, num_crops: int, num_tokens: int, rng: random.Random) -> Crops:
    """Cut random pieces of `num_tokens` audio tokens out of random windows."""
    total = corpus.word_labels.shape[1]
    features, words, phones = [], [], []
    for _ in range(num_crops):
        window, begin = rng.randrange(len(corpus.features)), rng.randrange(total - num_tokens + 1)
        end = begin + num_tokens
        piece = corpus.features[window, :, MEL_FRAMES_PER_TOKEN * begin : MEL_FRAMES_PER_TOKEN * end]
        features.append(_mask(piece.astype(np.float32), rng))
        words.append(corpus.word_labels[window, begin:end])
        phones.append(corpus.phone_labels[window, 2 * begin : 2 * end])
    return Crops(
        features=torch.from_numpy(np.stack(features)).bfloat16(),
        word_labels=torch.from_numpy(np.stack(words)).long(),
        phone_labels=torch.from_numpy(np.stack(phones)).long(),
        positions=2 * rng.randrange(total - num_tokens + 1) + torch.arange(2 * num_tokens),
    )


def _mask(features: np.ndarray, rng: random.Random) -> np.ndarray:
    """Blank out a short time and a few mel bins (SpecAugment), and change the level a little."""
    num_bins, num_frames = features.shape
    width = rng.randrange(MAX_MASKED_MEL_BINS + 1)
    begin = rng.randrange(num_bins - width + 1)
    features[begin : begin + width] = features.mean()
    width = rng.randrange(MAX_MASKED_MEL_FRAMES + 1)
    begin = rng.randrange(num_frames - width + 1)
    features[:, begin : begin + width] = features.mean()
    return features + np.float32(rng.uniform(-0.1, 0.1))


class EncoderLesson(nn.Module):
    """Audio tower and projector of the model, and what only training needs.

    Parameters
    ----------
    audio_tower, projector
        Hugging Face's modules; trained in place.
    word_table
        Fixed directions by token id, shape ``(V, D)``.
    blank_id
        The row of the blank.
    """

    def __init__(self, audio_tower: Any, projector: Any, word_table: torch.Tensor, blank_id: int) -> None:
        super().__init__()
        self.audio_tower = audio_tower
        self.projector = projector
        self.directions = functional.normalize(word_table.float(), dim=1)  # not buffers: they stay float32
        self.word_weights = torch.ones(len(word_table))
        self.word_weights[blank_id] = BLANK_WEIGHT
        self.blank_id = blank_id
        self.phone_layer = len(self.audio_tower.layers) // 2
        self.phone_head = nn.Linear(self.audio_tower.config.d_model, NUM_PHONES)

    def embed(self, features: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hugging Face's encoder forward, for pieces shorter than 30 s.

        Returns
        -------
        tuple
            Audio embeddings, ``(batch, tokens, D)``, and phoneme logits, ``(batch, 2 * tokens, phonemes)``.
        """
        tower = self.audio_tower
        states = functional.gelu(tower.conv1(features))
        states = functional.gelu(tower.conv2(states)).permute(0, 2, 1)
        states = states + tower.embed_positions.weight[positions]
        phone_logits = torch.empty(0)
        for number, layer in enumerate(tower.layers, start=1):
            states = layer(states, None)
            if number == self.phone_layer:
                phone_logits = self.phone_head(states)
        pooled = tower.avg_pooler(states.permute(0, 2, 1)).permute(0, 2, 1)
        return self.projector(tower.layer_norm(pooled)), phone_logits

    def word_logits(self, embeds: torch.Tensor) -> torch.Tensor:
        """COSINE_SCALE times the cosine with every direction; ``(..., V)``."""
        return COSINE_SCALE * functional.normalize(embeds.float(), dim=-1) @ self.directions.T

    def loss(
        self,
        features: torch.Tensor,
        word_labels: torch.Tensor,
        phone_labels: torch.Tensor,
        positions: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Cross-entropies of words and phonemes, and the squared error of the embeddings' norm."""
        embeds, phone_logits = self.embed(features, positions)
        labels = torch.where(word_labels == BLANK, self.blank_id, word_labels).flatten()
        words = functional.cross_entropy(
            self.word_logits(embeds).flatten(0, 1), labels, weight=self.word_weights
        )
        phones = functional.cross_entropy(phone_logits.float().flatten(0, 1), phone_labels.flatten())
        norm = (embeds.float().norm(dim=-1) - NORM).square().mean()
        return {"words": words, "phones": phones, "norm": norm}


def train_encoder(
    lesson: EncoderLesson, corpus: Corpus, recipe: EncoderRecipe, progress: LessonProgress, seed: int
) -> None:
    """Follow the recipe from where `progress` stands to its end; the lesson's modules become bfloat16."""
    weights = MasterWeights(lesson)
    progress.restore(lesson, weights)
    loss_of = torch.compile(lesson.loss) if recipe.compile else lesson.loss
    while not progress.done:
        rng = random.Random(f"crops {seed} {progress.step}")
        whole = progress.step >= recipe.num_steps * (1 - recipe.whole_window_share)
        seconds = WINDOW_SECONDS if whole else recipe.crop_seconds
        crops = draw_crops(corpus, max(1, round(recipe.batch_seconds / seconds)), seconds * 25, rng)
        parts = loss_of(crops.features, crops.word_labels, crops.phone_labels, crops.positions)
        loss = parts["words"] + PHONE_WEIGHT * parts["phones"] + NORM_WEIGHT * parts["norm"]
        weights.step(loss, learning_rate(progress.step, recipe.num_steps, recipe.learning_rate))
        progress.advance(lesson, weights, parts)


def word_errors(lesson: EncoderLesson, corpus: Corpus, windows: list[int]) -> tuple[int, int]:
    """Word errors of the encoder's own alignment on whole windows, and the number of words.

    The words are read off greedily: the most similar direction at every token, repeats joined, blanks left
    out; errors are substitutions, insertions and deletions.
    """
    errors = total = 0
    for begin in range(0, len(windows), 8):
        some = windows[begin : begin + 8]
        heard = lesson.word_logits(embed_windows(lesson, corpus.features[some])).argmax(-1)
        for row, window in zip(heard.tolist(), some, strict=True):
            truth = _collapse(corpus.word_labels[window].tolist(), BLANK)
            errors += Levenshtein.distance(_collapse(row, lesson.blank_id), truth)
            total += len(truth)
    return errors, total


@torch.inference_mode()
def embed_windows(lesson: EncoderLesson, features: np.ndarray) -> torch.Tensor:
    """Audio embeddings of whole windows, float32, ``(batch, 750, D)``."""
    positions = torch.arange(lesson.audio_tower.config.max_source_positions)
    dtype = lesson.phone_head.weight.dtype
    return lesson.embed(torch.from_numpy(features).to(dtype), positions)[0].float()


def _collapse(labels: list[int], blank: int) -> list[int]:
    return [b for a, b in zip([blank, *labels], labels, strict=False) if b != a and b != blank]
