"""Phase 2 against a plain loop over heads, queries and keys in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprune.pruning import phase2
from speechprune.pruning.phase2 import (
    FirstLayerProjections,
    attention_received,
    keep_highest,
    project_signs,
    second_phase_scores,
    sign,
)

SEEDS = st.integers(0, 2**32 - 1)
SCALES = pytest.mark.parametrize("scale", ["sign", "xnor"])


def random_values(generator, *shape, whole=False):
    """Whole numbers bring zeros, whose sign is +1."""
    values = generator.integers(-2, 3, shape) if whole else generator.normal(size=shape)
    return torch.from_numpy(np.asarray(values, np.float32))


def random_projections(generator, num_dimensions, num_key_value_heads, group, head_dim, whole=False):
    num_heads = num_key_value_heads * group
    return FirstLayerProjections(
        query_weight=random_values(generator, num_heads * head_dim, num_dimensions, whole=whole),
        key_weight=random_values(generator, num_key_value_heads * head_dim, num_dimensions, whole=whole),
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
    )


@st.composite
def survivors_and_projections(draw):
    """S and the projections of one head or several, grouped queries included."""
    generator = np.random.default_rng(draw(SEEDS))
    whole = draw(st.booleans())
    num_dimensions = draw(st.integers(1, 24))
    S = random_values(generator, draw(st.integers(1, 40)), num_dimensions, whole=whole)
    heads = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    return S, random_projections(generator, num_dimensions, *heads, whole=whole)


def binarize(rows, scale):
    """±1, and for xnor times the mean absolute value of the row."""
    signs = np.array([[1.0 if value >= 0 else -1.0 for value in row] for row in rows])
    return signs * np.abs(rows).mean(axis=1, keepdims=True) if scale == "xnor" else signs


def repeat_kv(key_weight, projections):
    """W_K with each key head repeated for the query heads of its group, as Hugging Face does."""
    heads = key_weight.reshape(projections.num_key_value_heads, projections.head_dim, -1)
    group = projections.num_heads // projections.num_key_value_heads
    return np.concatenate([head for head in heads for _ in range(group)])


def attention_per_head(S, projections, scale):
    """A of Eqs 10 to 12 in float64, (H, n, n): rows are queries, columns keys."""
    S_b = binarize(S.double().numpy(), scale)
    W_Q = binarize(projections.query_weight.double().numpy(), scale)
    W_K = repeat_kv(binarize(projections.key_weight.double().numpy(), scale), projections)
    d_k = projections.head_dim
    A = np.zeros((projections.num_heads, len(S), len(S)))
    for h in range(projections.num_heads):
        Q, K = S_b @ W_Q[h * d_k : (h + 1) * d_k].T, S_b @ W_K[h * d_k : (h + 1) * d_k].T
        for i in range(len(S)):
            logits = np.array([sum(Q[i] * K[j]) for j in range(len(S))]) / np.sqrt(d_k)
            weights = np.exp(logits - logits.max())
            A[h, i] = weights / weights.sum()
    return A


@SCALES
@given(survivors_and_projections())
def test_scores_are_the_attention_received_in_a_plain_loop(scale, sample):
    S, projections = sample
    naive = attention_per_head(S, projections, scale).mean(axis=(0, 1))
    with pytest.MonkeyPatch.context() as patch:
        for _ in ("a CPU's way", "a GPU's"):
            scores = second_phase_scores(S, projections, scale)
            assert scores.dtype == torch.float32
            assert scores.sum().item() == pytest.approx(1, abs=1e-5)
            np.testing.assert_allclose(scores, naive, rtol=1e-4, atol=1e-6)
            projections = as_on_a_gpu(patch, projections)


def as_on_a_gpu(patch, projections):
    """Let phase 2 go a GPU's way on a CPU, whose products of half precision don't come in float32."""
    patch.setattr(phase2, "is_queued", lambda tensor: True)
    patch.setattr(phase2, "exact_product", lambda a, b: a.float() @ b.float())
    return replace(projections)  # without the signs that were kept


@SCALES
@pytest.mark.parametrize("num_dimensions", [2048, 4096])
def test_a_gpus_way_loses_no_bit_of_the_projections(scale, num_dimensions, monkeypatch):
    """All signs alike give the largest whole numbers that float16 has to hold."""
    generator = np.random.default_rng(5)
    S, projections = (
        random_values(generator, 30, num_dimensions),
        random_projections(generator, num_dimensions, 2, 2, 8),
    )
    S[:3], projections.query_weight[:5] = 1.0, 1.0
    exact = project_signs(S, projections, scale)
    found = project_signs(S, as_on_a_gpu(monkeypatch, projections), scale)
    assert scale == "xnor" or exact[0].max() == num_dimensions
    for own, other in zip(found, exact, strict=True):
        assert own.dtype == (torch.float16 if scale == "sign" else torch.float32)
        np.testing.assert_array_equal(own.float(), other)


@SCALES
@pytest.mark.parametrize("is_queued", [False, True])
def test_several_questions_together_score_as_each_alone(scale, is_queued, monkeypatch):
    generator = np.random.default_rng(6)
    S, projections = (
        random_values(generator, 3 * 20, 16).view(3, 20, 16),
        random_projections(generator, 16, 2, 2, 4),
    )
    if is_queued:
        projections = as_on_a_gpu(monkeypatch, projections)
    together = second_phase_scores(S, projections, scale)
    similarity = random_values(generator, 3, 20, whole=True)
    kept = keep_highest(7, together, similarity)
    for i in range(3):
        np.testing.assert_array_equal(together[i], second_phase_scores(S[i], projections, scale))
        np.testing.assert_array_equal(kept[i], keep_highest(7, together[i], similarity[i]))


def test_the_mean_over_the_keys_would_say_nothing():
    """Eq 13's axis 1 is the queries' (of a heads x n x n tensor): over the keys, rows sum to one."""
    generator = np.random.default_rng(0)
    S, projections = random_values(generator, 30, 16), random_projections(generator, 16, 2, 1, 4)
    A = attention_per_head(S, projections, "sign")
    np.testing.assert_allclose(A.mean(axis=(0, 2)), np.full(30, 1 / 30), rtol=1e-12)
    assert second_phase_scores(S, projections, "sign").std() > 0.01


def test_the_sign_of_zero_is_plus_one():
    assert sign(torch.tensor([-0.5, -0.0, 0.0, 2.0], dtype=torch.bfloat16)).tolist() == [-1, 1, 1, 1]


def test_projected_signs_are_whole_numbers_of_the_right_heads():
    """Two dimensions, two heads of one dimension, one key head."""
    projections = FirstLayerProjections(
        query_weight=torch.tensor([[0.3, 0.2], [0.3, -0.2]]),
        key_weight=torch.tensor([[-5.0, 0.1]]),
        num_heads=2,
        num_key_value_heads=1,
    )
    S = torch.tensor([[1.0, 2.0], [-3.0, 0.0]])
    query, key = project_signs(S, projections, "sign")
    assert query.tolist() == [[[2.0], [0.0]], [[0.0], [-2.0]]]
    assert key.tolist() == [[[0.0], [2.0]]]


@SCALES
@pytest.mark.parametrize("is_queued", [False, True])
def test_logits_formed_in_parts_give_the_same_scores(scale, is_queued, monkeypatch):
    generator = np.random.default_rng(1)
    S, projections = random_values(generator, 50, 16), random_projections(generator, 16, 2, 2, 4)
    whole = second_phase_scores(S, projections, scale)
    if is_queued:
        projections = as_on_a_gpu(monkeypatch, projections)
    for logits_at_once in (
        1,
        170,
        5_000,
        7_500,
    ):  # one query at a time; three, with two left over; one or two heads
        monkeypatch.setattr(phase2, "_LOGITS_AT_ONCE", logits_at_once)
        monkeypatch.setattr(phase2, "_LOGITS_AT_ONCE_ON_A_GPU", logits_at_once)
        np.testing.assert_allclose(second_phase_scores(S, projections, scale), whole, rtol=1e-5)


@SCALES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_not_where_the_logits_are_formed(scale, dtype):
    """Logits of hundreds of thousands: past float16, far past the whole numbers of bfloat16."""
    generator = np.random.default_rng(2)
    S = random_values(generator, 40, 1024).to(dtype)
    wide = random_projections(generator, 1024, 1, 2, 64)
    projections = FirstLayerProjections(wide.query_weight.to(dtype), wide.key_weight.to(dtype), 2, 1)
    copies = FirstLayerProjections(
        projections.query_weight.float(), projections.key_weight.float(), num_heads=2, num_key_value_heads=1
    )
    in_half = second_phase_scores(S, projections, scale)
    assert in_half.isfinite().all()
    np.testing.assert_array_equal(in_half, second_phase_scores(S.float(), copies, scale))


def test_logits_of_the_largest_model_stay_finite():
    """D = 4096 and d_k = 128, all signs alike: every logit is 4096² · 128 = 2 147 483 648."""
    received = attention_received(torch.full((1, 3, 128), 4096.0), torch.full((1, 3, 128), 4096.0))
    assert received.tolist() == pytest.approx([1 / 3] * 3)


def test_a_saturated_softmax_leaves_the_choice_to_the_first_phase():
    """Most tokens receive exactly nothing: among them the first phase's score decides, then time."""
    generator = np.random.default_rng(3)
    S, projections = random_values(generator, 60, 2048), random_projections(generator, 2048, 1, 1, 64)
    received = second_phase_scores(S, projections, "sign")
    attended = np.flatnonzero(received)
    ignored = np.flatnonzero(received == 0)
    assert len(ignored) > 15
    similarity = torch.from_numpy(generator.integers(0, 4, 60) / 4)  # with ties of its own
    ranked = sorted(ignored.tolist(), key=lambda i: (-similarity[i].item(), i))
    for num_more in range(len(ranked) + 1):
        kept = keep_highest(len(attended) + num_more, received, similarity)
        assert kept.tolist() == sorted([*attended.tolist(), *ranked[:num_more]])


def test_equal_tokens_receive_equal_attention():
    generator = np.random.default_rng(4)
    S, projections = random_values(generator, 20, 32), random_projections(generator, 32, 2, 2, 8)
    received = second_phase_scores(S.repeat(3, 1), projections, "sign").reshape(3, 20)
    np.testing.assert_array_equal(received, received[[0, 0, 0]])


@given(SEEDS, st.integers(1, 30))
def test_the_highest_are_kept_in_the_order_of_time(seed, num_tokens):
    generator = np.random.default_rng(seed)
    first, second = torch.from_numpy(generator.integers(0, 4, (2, num_tokens)).astype(np.float32))
    by_rank = sorted(range(num_tokens), key=lambda i: (-first[i].item(), -second[i].item(), i))
    for num_kept in range(1, num_tokens + 1):
        assert keep_highest(num_kept, first, second).tolist() == sorted(by_rank[:num_kept])
