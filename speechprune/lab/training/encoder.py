"""Training objective of the encoder: the embedding of a word at the time of the word.

The audio encoder and the projector are trained frame by frame: at the last audio tokens of a word the
embedding must point to the word's row of the fixed table, elsewhere to the blank. Two auxiliary
objectives, discarded afterwards, speed up the first: phonemes at the middle layer, and at the last layer the
word spoken at every position.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import nn
from torch.nn import functional

from speechprune.lab.training.config import EncoderRecipe
from speechprune.lab.training.corpus import BLANK, Corpus
from speechprune.lab.training.phones import NUM_PHONES
from speechprune.lab.training.progress import StageProgress
from speechprune.lab.training.schedule import MasterWeights, learning_rate
from speechprune.lab.training.word_table import NORM
from speechprune.models.qwen2_audio import WINDOW_SECONDS

MEL_FRAMES_PER_TOKEN = 4
COSINE_SCALE = 16.0
BLANK_WEIGHT = 0.35  # four of five tokens are blank
NORM_WEIGHT = 0.02
PHONE_WEIGHT, WITHIN_WEIGHT = 0.3, 0.5
MAX_MASKED_MEL_FRAMES, MAX_MASKED_MEL_BINS = 10, 10


class Crops(NamedTuple):
    """A batch of equally long pieces of windows."""

    features: torch.Tensor  # (batch, mel bins, mel frames)
    word_labels: torch.Tensor  # (batch, audio tokens)
    within_labels: torch.Tensor  # (batch, 2 * audio tokens)
    phone_labels: torch.Tensor  # (batch, 2 * audio tokens)
    positions: torch.Tensor  # indices of the pieces' positions in the 30 s window


def draw_crops(corpus: Corpus, num_crops: int, num_tokens: int, rng: random.Random) -> Crops:
    """Cut random pieces of `num_tokens` audio tokens out of random windows."""
    total = corpus.word_labels.shape[1]
    features, words, within, phones = [], [], [], []
    for _ in range(num_crops):
        window, begin = rng.randrange(len(corpus.features)), rng.randrange(total - num_tokens + 1)
        end = begin + num_tokens
        piece = corpus.features[window, :, MEL_FRAMES_PER_TOKEN * begin : MEL_FRAMES_PER_TOKEN * end]
        features.append(_mask(piece.astype(np.float32), rng))
        words.append(corpus.word_labels[window, begin:end])
        within.append(corpus.within_labels[window, 2 * begin : 2 * end])
        phones.append(corpus.phone_labels[window, 2 * begin : 2 * end])
    return Crops(
        features=torch.from_numpy(np.stack(features)).bfloat16(),
        word_labels=torch.from_numpy(np.stack(words)).long(),
        within_labels=torch.from_numpy(np.stack(within)).long(),
        phone_labels=torch.from_numpy(np.stack(phones)).long(),
        positions=2 * rng.randrange(total - num_tokens + 1) + torch.arange(2 * num_tokens),
    )


def _mask(features: np.ndarray, rng: random.Random) -> np.ndarray:
    """Mask a short time and a few mel bins (SpecAugment), and change the level a little."""
    num_bins, num_frames = features.shape
    width = rng.randrange(MAX_MASKED_MEL_BINS + 1)
    begin = rng.randrange(num_bins - width + 1)
    features[begin : begin + width] = features.mean()
    width = rng.randrange(MAX_MASKED_MEL_FRAMES + 1)
    begin = rng.randrange(num_frames - width + 1)
    features[:, begin : begin + width] = features.mean()
    return features + np.float32(rng.uniform(-0.1, 0.1))


class EncoderOutput(NamedTuple):
    """Audio embeddings, ``(batch, tokens, D)``, and states of the middle and the last layer at twice as many
    positions.
    """

    embeds: torch.Tensor
    middle: torch.Tensor
    last: torch.Tensor


class EncoderObjective(nn.Module):
    """Audio tower and projector of the model, with the heads that only training needs.

    Parameters
    ----------
    audio_tower, projector
        Hugging Face's modules; trained in place.
    word_table
        Fixed directions by token id, shape ``(V, D)``.
    blank_id
        The row of the blank.
    """

    directions: torch.Tensor
    word_weights: torch.Tensor

    def __init__(self, audio_tower: Any, projector: Any, word_table: torch.Tensor, blank_id: int) -> None:
        super().__init__()
        self.audio_tower = audio_tower
        self.projector = projector
        weights = torch.ones(len(word_table))
        weights[blank_id] = BLANK_WEIGHT
        self.register_buffer("word_weights", weights, persistent=False)
        self.register_buffer("directions", functional.normalize(word_table, dim=1), persistent=False)
        self.blank_id = blank_id
        self.phone_layer = len(self.audio_tower.layers) // 2
        self.phone_head = nn.Linear(self.audio_tower.config.d_model, NUM_PHONES)
        self.within_head = nn.Linear(self.audio_tower.config.d_model, word_table.shape[1])

    def embed(self, features: torch.Tensor, positions: torch.Tensor) -> EncoderOutput:
        """Hugging Face's encoder forward, for pieces shorter than 30 s."""
        tower = self.audio_tower
        states = functional.gelu(tower.conv1(features))
        states = functional.gelu(tower.conv2(states)).permute(0, 2, 1)
        states = states + tower.embed_positions.weight[positions]
        middle = states
        for number, layer in enumerate(tower.layers, start=1):
            states = layer(states, None)
            if number == self.phone_layer:
                middle = states
        pooled = tower.avg_pooler(states.permute(0, 2, 1)).permute(0, 2, 1)
        return EncoderOutput(self.projector(tower.layer_norm(pooled)), middle, states)

    def word_logits(self, embeds: torch.Tensor) -> torch.Tensor:
        """COSINE_SCALE times the cosine with every direction; ``(..., V)``."""
        return COSINE_SCALE * functional.normalize(embeds.float(), dim=-1) @ self.directions.T

    def loss(
        self,
        features: torch.Tensor,
        word_labels: torch.Tensor,
        within_labels: torch.Tensor,
        phone_labels: torch.Tensor,
        positions: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Return the cross-entropies of the three objectives, and the squared error of the norm."""
        output = self.embed(features, positions)
        return {
            "words": self._word_loss(output.embeds, word_labels),
            "within": self._word_loss(self.within_head(output.last), within_labels),
            "phones": functional.cross_entropy(
                self.phone_head(output.middle).float().flatten(0, 1), phone_labels.flatten()
            ),
            "norm": (output.embeds.float().norm(dim=-1) - NORM).square().mean(),
        }

    def _word_loss(self, embeds: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy over the table, blanks weighted by `BLANK_WEIGHT`."""
        ids = torch.where(labels == BLANK, self.blank_id, labels).flatten()
        logits = self.word_logits(embeds).flatten(0, 1)
        return functional.cross_entropy(logits, ids, weight=self.word_weights)


def train_encoder(
    objective: EncoderObjective, corpus: Corpus, recipe: EncoderRecipe, progress: StageProgress, seed: int
) -> None:
    """Follow the recipe from where `progress` stands to its end; the objective's modules become bfloat16."""
    weights = MasterWeights(objective)
    device = objective.directions.device
    progress.restore(objective, weights)
    loss_of = torch.compile(objective.loss) if recipe.compile else objective.loss
    while not progress.done:
        rng = random.Random(f"crops {seed} {progress.step}")
        whole = progress.step >= recipe.num_steps * (1 - recipe.whole_window_share)
        seconds = WINDOW_SECONDS if whole else recipe.crop_seconds
        crops = draw_crops(corpus, max(1, round(recipe.batch_seconds / seconds)), seconds * 25, rng)
        parts = loss_of(*(tensor.to(device) for tensor in crops))
        loss = parts["words"] + NORM_WEIGHT * parts["norm"]
        loss = loss + WITHIN_WEIGHT * parts["within"] + PHONE_WEIGHT * parts["phones"]
        weights.step(loss, learning_rate(progress.step, recipe.num_steps, recipe.learning_rate))
        progress.advance(objective, weights, parts)


def word_errors(objective: EncoderObjective, corpus: Corpus, windows: list[int]) -> tuple[int, int]:
    """Word errors of the encoder's own alignment on whole windows, and the number of words.

    The words are read off greedily: the most similar direction at every token, repeats joined, blanks left
    out; errors are substitutions, insertions and deletions.
    """
    errors = total = 0
    for begin in range(0, len(windows), 8):
        some = windows[begin : begin + 8]
        hypotheses = objective.word_logits(embed_windows(objective, corpus.features[some])).argmax(-1)
        for row, window in zip(hypotheses.tolist(), some, strict=True):
            truth = _collapse(corpus.word_labels[window].tolist(), BLANK)
            errors += Levenshtein.distance(_collapse(row, objective.blank_id), truth)
            total += len(truth)
    return errors, total


@torch.inference_mode()
def embed_windows(objective: EncoderObjective, features: np.ndarray) -> torch.Tensor:
    """Audio embeddings of whole windows, float32, ``(batch, 750, D)``."""
    weight = objective.phone_head.weight
    positions = torch.arange(objective.audio_tower.config.max_source_positions, device=weight.device)
    return objective.embed(torch.from_numpy(features).to(weight), positions).embeds.float()


def _collapse(labels: list[int], blank: int) -> list[int]:
    return [b for a, b in zip([blank, *labels], labels, strict=False) if b != a and b != blank]
