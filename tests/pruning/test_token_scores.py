"""Token scores, Eqs 4 and 5, against the N x L matrix of cosines."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprune.pruning import similarity
from speechprune.pruning.similarity import best_scores, token_scores
from tests.helpers.embeddings import cosines, embeddings


@given(embeddings())
def test_token_scores_are_the_mean_over_the_text_of_the_cosines(sample):
    audio_embeds, (query_embeds,) = sample
    (scores,) = token_scores(audio_embeds, [query_embeds])
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, cosines(audio_embeds, query_embeds).mean(axis=1), rtol=0, atol=1e-7)


@given(embeddings(max_queries=5))
def test_all_queries_together_score_as_each_alone_bit_for_bit(sample):
    audio_embeds, queries = sample
    together = token_scores(audio_embeds, queries)
    for row, query_embeds in zip(together, queries, strict=True):
        np.testing.assert_array_equal(row, token_scores(audio_embeds, [query_embeds])[0])


@given(embeddings(max_queries=4), st.data())
def test_best_scores_are_the_largest_cosine_with_a_token_of_the_query(sample, data):
    """Of queries that share tokens and repeat them, each as if it were alone."""
    audio_embeds, queries = sample
    vocabulary = torch.cat(queries)
    numbers = st.lists(st.integers(0, len(vocabulary) - 1), min_size=1, max_size=8)
    token_ids = [data.draw(numbers) for _ in queries]
    queries = [vocabulary[own] for own in token_ids]
    most_off = 1e-6 + audio_embeds.shape[1] ** 0.5 / 2**11  # two directions, each off by half a step
    together = best_scores(audio_embeds, queries, token_ids)
    for scores, query_embeds, own in zip(together, queries, token_ids, strict=True):
        assert scores.dtype == torch.float32
        expected = cosines(audio_embeds, query_embeds).max(axis=1)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=most_off)
        np.testing.assert_array_equal(scores, best_scores(audio_embeds, [query_embeds], [own])[0])
        assert (scores.double() * 2**22 % 1 == 0).all()  # sums over frames are exact


def test_chunks_of_rows_leave_no_seam(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    audio_embeds = torch.randn(100, 16, generator=generator)
    query_embeds = torch.randn(5, 16, generator=generator)
    whole = token_scores(audio_embeds, [query_embeds])
    best = best_scores(audio_embeds, [query_embeds], [range(5)])
    monkeypatch.setattr(similarity, "_ROWS_PER_CHUNK", 7)
    np.testing.assert_array_equal(token_scores(audio_embeds, [query_embeds]), whole)
    np.testing.assert_array_equal(best_scores(audio_embeds, [query_embeds], [range(5)])[0], best[0])


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
    queries = [torch.ones(2, 8)] * 3
    assert token_scores(torch.zeros(0, 8), queries).shape == (3, 0)
    assert [len(own) for own in best_scores(torch.zeros(0, 8), queries, [[0, 1]] * 3)] == [0, 0, 0]
