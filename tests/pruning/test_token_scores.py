"""Token scores, Eqs 4 and 5, against the N x L matrix of cosines."""

import numpy as np
import pytest
import torch
from hypothesis import given

from speechprune.pruning import phase1
from speechprune.pruning.phase1 import token_scores
from tests.helpers.embeddings import embeddings, mean_cosine


@given(embeddings())
def test_token_scores_are_the_mean_over_the_text_of_the_cosines(sample):
    audio_embeds, (query_embeds,) = sample
    (scores,) = token_scores(audio_embeds, [query_embeds])
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, mean_cosine(audio_embeds, query_embeds), rtol=0, atol=1e-7)


@given(embeddings(max_queries=5))
def test_all_queries_together_score_as_each_alone_bit_for_bit(sample):
    audio_embeds, queries = sample
    together = token_scores(audio_embeds, queries)
    for row, query_embeds in zip(together, queries, strict=True):
        np.testing.assert_array_equal(row, token_scores(audio_embeds, [query_embeds])[0])


def test_chunks_of_rows_leave_no_seam(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    audio_embeds = torch.randn(100, 16, generator=generator)
    query_embeds = torch.randn(5, 16, generator=generator)
    whole = token_scores(audio_embeds, [query_embeds])
    monkeypatch.setattr(phase1, "_ROWS_PER_CHUNK", 7)
    np.testing.assert_array_equal(token_scores(audio_embeds, [query_embeds]), whole)


def test_rows_without_direction_score_zero():
    audio_embeds = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    query_embeds = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(token_scores(audio_embeds, [query_embeds]), [[0.0, 0.3]], atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_score_as_their_float32_copies(dtype):
    generator = torch.Generator().manual_seed(0)
    audio_embeds = torch.randn(50, 32, generator=generator).to(dtype)
    query_embeds = torch.randn(4, 32, generator=generator).to(dtype)
    np.testing.assert_array_equal(
        token_scores(audio_embeds, [query_embeds]), token_scores(audio_embeds.float(), [query_embeds.float()])
    )


def test_no_audio_tokens_have_no_scores():
    assert token_scores(torch.zeros(0, 8), [torch.ones(2, 8)] * 3).shape == (3, 0)
