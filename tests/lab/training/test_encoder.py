"""The encoder's objective against Hugging Face's own encoder, and its losses against plain loops."""

import math
import random

import numpy as np
import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration

from speechprune.lab.training import encoder as module
from speechprune.lab.training.corpus import BLANK, Corpus
from speechprune.lab.training.encoder import (
    BLANK_WEIGHT,
    COSINE_SCALE,
    MAX_MASKED_MEL_BINS,
    MAX_MASKED_MEL_FRAMES,
    EncoderObjective,
    draw_crops,
    embed_windows,
    word_errors,
)
from speechprune.lab.training.phones import NUM_PHONES
from speechprune.lab.training.word_table import NORM


@pytest.fixture
def objective(model, table) -> EncoderObjective:
    torch.manual_seed(3)
    return EncoderObjective(
        model.model.audio_tower, model.model.multi_modal_projector, table, model.config.audio_token_id
    )


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.5, (2, 80, 3000)).astype(np.float16)


@torch.inference_mode()
def test_whole_windows_are_embedded_as_hugging_face_does(
    model: Qwen2AudioForConditionalGeneration, objective, features
):
    states = model.model.audio_tower(torch.from_numpy(features).float()).last_hidden_state
    expected = model.model.multi_modal_projector(states)
    embeds = embed_windows(objective, features)
    assert embeds.shape == (2, 750, 64)
    torch.testing.assert_close(embeds, expected, atol=1e-4, rtol=1e-4)
    assert (embeds[0] - embeds[1]).abs().max() > 0.1


@torch.inference_mode()
def test_a_piece_is_told_where_it_lies(objective, features):
    piece = torch.from_numpy(features[:1, :, :400]).float()
    early, late = (objective.embed(piece, begin + torch.arange(200))[0] for begin in (0, 900))
    assert early.shape == (1, 100, 64)
    assert (early - late).abs().max() > 1e-3


@torch.inference_mode()
def test_losses_are_those_of_plain_loops(objective, table, features):
    words = np.array([[BLANK, 40, 40, BLANK, 100], [7, 7, BLANK, BLANK, BLANK]])
    rng = np.random.default_rng(1)
    phones, within = rng.integers(0, NUM_PHONES, (2, 10)), rng.choice([BLANK, 8, 60], (2, 10))
    arguments = (
        torch.from_numpy(features[:, :, :20]).float(),
        *map(torch.from_numpy, (words, within, phones)),
    )
    positions = 30 + torch.arange(10)
    parts = objective.loss(*arguments, positions)
    output = objective.embed(arguments[0], positions)
    directions = [row / np.linalg.norm(row) for row in table.double().numpy()]

    def word_loss(embeds, labels) -> float:
        losses, weights = [], []
        for embed, label in zip(embeds.flatten(0, 1).double().numpy(), labels.ravel(), strict=True):
            scaled = np.array([COSINE_SCALE * d @ embed for d in directions]) / np.linalg.norm(embed)
            wanted = objective.blank_id if label == BLANK else label
            weights.append(BLANK_WEIGHT if label == BLANK else 1.0)
            losses.append(weights[-1] * (math.log(np.exp(scaled).sum()) - scaled[wanted]))
        return sum(losses) / sum(weights)

    assert float(parts["words"]) == pytest.approx(word_loss(output.embeds, words), rel=1e-4)
    last = word_loss(objective.within_head(output.last), within)
    assert float(parts["within"]) == pytest.approx(last, rel=1e-4)
    norms = [(np.linalg.norm(embed) - NORM) ** 2 for embed in output.embeds.flatten(0, 1).double().numpy()]
    assert float(parts["norm"]) == pytest.approx(np.mean(norms), rel=1e-4)
    logits = objective.phone_head(output.middle).double().numpy().reshape(20, -1)
    plain = [
        math.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, phones.ravel(), strict=True)
    ]
    assert float(parts["phones"]) == pytest.approx(np.mean(plain), rel=1e-4)


@torch.inference_mode()
def test_phonemes_are_read_at_the_middle_layer(objective, features):
    """Layers behind it can't change what is read there; those before it do."""
    piece, positions = torch.from_numpy(features[:1, :, :80]).float(), torch.arange(40)
    before = objective.embed(piece, positions).middle
    objective.audio_tower.layers[1].fc1.weight += 1
    assert torch.equal(objective.embed(piece, positions).middle, before)
    objective.audio_tower.layers[0].fc1.weight += 1
    assert not torch.allclose(objective.embed(piece, positions).middle, before)


def numbered_corpus(num_windows: int = 3, num_tokens: int = 40) -> Corpus:
    """Every mel frame holds the number of its audio token, and so do the labels."""
    tokens = np.arange(num_tokens)
    features = np.broadcast_to(np.repeat(tokens, 4), (num_windows, 80, 4 * num_tokens))
    return Corpus(
        features=features.astype(np.float16),
        word_labels=np.broadcast_to(tokens, (num_windows, num_tokens)).astype(np.int16),
        within_labels=np.broadcast_to(np.repeat(tokens, 2), (num_windows, 2 * num_tokens)).astype(np.int16),
        phone_labels=np.broadcast_to(np.repeat(tokens, 2), (num_windows, 2 * num_tokens)).astype(np.uint8),
        first_window=np.arange(num_windows + 1),
        num_tokens=np.full(num_windows, num_tokens),
        questions=[[]] * num_windows,
    )


def test_crops_keep_labels_beside_their_sound():
    corpus = numbered_corpus()
    begins = set()
    for seed in range(20):
        crops = draw_crops(corpus, 4, 15, random.Random(seed))
        assert crops.features.shape == (4, 80, 60)
        assert crops.features.dtype == torch.bfloat16
        for piece, words, phones in zip(
            crops.features.float().numpy(), crops.word_labels, crops.phone_labels, strict=True
        ):
            begins.add(int(words[0]))
            assert torch.equal(words, words[0] + torch.arange(15))
            assert torch.equal(phones, words.repeat_interleave(2))
            shown = np.abs(piece - words.repeat_interleave(4).numpy()) < 0.45
            # all but a band of mel bins and a stretch of time that are blanked out
            masked_bins, masked_frames = (~shown).mean(1) > 0.9, (~shown).mean(0) > 0.9
            assert masked_bins.sum() <= MAX_MASKED_MEL_BINS
            assert masked_frames.sum() <= MAX_MASKED_MEL_FRAMES
            assert shown[~masked_bins][:, ~masked_frames].all()
        assert torch.equal(crops.positions, crops.positions[0] + torch.arange(30))
        assert crops.positions[0] % 2 == 0
        assert 0 <= crops.positions[0] <= crops.positions[-1] < 80
    assert len(begins) > 15
    assert {0, 25} & begins or max(begins) - min(begins) > 20


def test_drawing_crops_leaves_the_corpus_as_it_is():
    corpus = numbered_corpus()
    before = corpus.features.copy()
    draw_crops(corpus, 8, 40, random.Random(0))
    assert np.array_equal(corpus.features, before)


def edit_distance(one: list[int], other: list[int]) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def test_word_errors_of_what_the_nearest_directions_read(objective, table, monkeypatch):
    blank = objective.blank_id
    rng = np.random.default_rng(4)
    truth = np.full((3, 750), BLANK, np.int16)
    hypothesis = np.full((3, 750), blank)
    expected = total = 0
    for window in range(3):
        words = rng.integers(100, 140, 30).tolist()
        reference, read = [w for i, w in enumerate(words) if i == 0 or w != words[i - 1]], []
        for number, word in enumerate(reference):
            truth[window, 20 * number : 20 * number + 2] = word
            chance = rng.random()
            if chance < 0.2:
                continue  # lost
            evidence = word if chance < 0.8 else 300 + number
            hypothesis[window, 20 * number : 20 * number + 3] = evidence
            read.append(evidence)
        expected += edit_distance(read, reference)
        total += len(reference)
    noise = torch.from_numpy(rng.normal(0, 0.05, (3, 750, 64))).float()
    monkeypatch.setattr(module, "embed_windows", lambda *_: table[torch.from_numpy(hypothesis)] + noise)
    corpus = numbered_corpus()
    corpus = Corpus(**{**corpus.__dict__, "word_labels": truth})
    assert word_errors(objective, corpus, [0, 1, 2]) == (expected, total)
    assert 0 < expected < total
