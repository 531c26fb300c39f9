"""Phase 1 against its definition: plain loops, water-filling in exact fractions."""

import doctest
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.pruning import phase1
from speechprune.pruning.phase1 import (
    first_phase,
    frame_boundaries,
    frame_budgets,
    frame_probabilities,
    frame_scores,
    join_frames,
    keep_by_frame,
    standardised_frame_scores,
)
from speechprune.pruning.similarity import token_scores
from tests.helpers.embeddings import SEEDS, cosines, embeddings
from tests.helpers.frames import equal_frames, frames_of


@st.composite
def scores_and_frames(draw):
    """Token scores and frame boundaries; few values bring ties, between tokens and between frames."""
    generator = np.random.default_rng(draw(SEEDS))
    num_tokens = draw(st.integers(1, 120))
    if draw(st.booleans()):
        scores = generator.integers(-2, 3, num_tokens) / 4
    else:
        scores = generator.uniform(-1, 1, num_tokens)
    return torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(draw(frames_of(num_tokens)))


def water_filling(probabilities, budget, capacities):
    """The n_i of ``fill`` in exact fractions: a level rises until min(K, N) tokens stand under it.

    Frame i holds min(c_i, level · p_i). Frames fill in the order of c_i / p_i, so the level is found
    by trying every number of full frames. Fractions go to the largest remainders.
    """
    p = [Fraction(float(value)) for value in probabilities]
    c = [int(value) for value in capacities]
    total = min(budget, sum(c))
    order = sorted(range(len(p)), key=lambda i: c[i] / p[i])
    quotas = [Fraction(value) for value in c]
    for num_full in range(len(p)):
        rest = order[num_full:]
        level = (total - sum(c[i] for i in order[:num_full])) / sum(p[i] for i in rest)
        if all(level * p[i] <= c[i] for i in rest):
            for i in rest:
                quotas[i] = level * p[i]
            break
    budgets = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(p)), key=lambda i: (budgets[i] - quotas[i], i))
    for i in by_remainder[: total - sum(budgets)]:
        budgets[i] += 1
    return budgets


def keep_by_sorting(scores, budgets, frame_starts):
    """Eqs 8 and 9 as a plain loop."""
    kept, scores, frame_starts = [], scores.tolist(), frame_starts.tolist()
    for i, budget in enumerate(budgets):
        frame = range(frame_starts[i], frame_starts[i + 1])
        kept += sorted(sorted(frame, key=lambda j: (-scores[j], j))[:budget])
    return kept


# ------------------------------------------------------------------------------------------------------------
# Frames, Eqs 5 and 6


@given(
    token_milliseconds=st.sampled_from([40, 80, 160, 1500]),
    gaps=st.lists(st.integers(1, 60), max_size=120),
    start=st.floats(0, 7_200),
)
def test_a_frame_holds_the_tokens_that_start_within_a_second(token_milliseconds, gaps, start):
    """Against whole milliseconds from the first token on; seconds without a token make no frame."""
    milliseconds = np.cumsum([0, *(gap * token_milliseconds for gap in gaps)])
    expected = {}
    for index, passed in enumerate(milliseconds.tolist()):
        expected.setdefault(passed // 1000, []).append(index)
    frame_starts = frame_boundaries(start + milliseconds / 1000)
    assert frame_starts.dtype == np.int64
    assert [list(range(a, b)) for a, b in pairwise(frame_starts)] == list(expected.values())


@pytest.mark.parametrize(
    ("token_rate", "sizes"), [(25, [25] * 4), (12.5, [13, 12, 13, 12]), (0.5, [1, 1])], ids=str
)
@pytest.mark.parametrize("start", [0.0, 0.1, 1_234.56])
def test_four_seconds_at_a_token_rate(token_rate, sizes, start):
    frame_starts = frame_boundaries(start + np.arange(4 * token_rate) / token_rate)
    assert np.diff(frame_starts).tolist() == sizes


def test_a_pause_of_whole_seconds_is_no_frame():
    """A family that transcribes gives no token where nobody speaks."""
    frame_starts = frame_boundaries(np.array([10.0, 10.4, 10.9, 17.0, 17.9, 18.0, 30.5]))
    assert frame_starts.tolist() == [0, 3, 5, 6, 7]


@given(scores_and_frames())
def test_frame_scores_are_the_sums_of_their_tokens(sample):
    scores, frame_starts = sample
    naive = [sum(scores[a:b].tolist()) for a, b in pairwise(frame_starts.tolist())]
    np.testing.assert_allclose(frame_scores(scores, frame_starts), naive, rtol=0, atol=1e-12)


@given(scores_and_frames(), st.integers(-3, 3), st.floats(0.01, 1))
def test_standardised_frame_scores_have_neither_the_mean_nor_the_unit_of_the_scores(sample, offset, unit):
    scores, frame_starts = sample
    s = scores.double().numpy()
    deviation = max(s.std(), 2**-16)
    naive = [sum((s[a:b] - s.mean()) / deviation) for a, b in pairwise(frame_starts.tolist())]
    own = standardised_frame_scores(scores, frame_starts)
    np.testing.assert_allclose(own, naive, rtol=1e-3, atol=1e-6)
    alike = standardised_frame_scores((scores.double() * unit + offset).float(), frame_starts)
    np.testing.assert_allclose(alike, own, rtol=2e-2, atol=1e-2)


@given(scores_and_frames(), SEEDS)
def test_standardised_frame_scores_of_several_questions_are_each_ones_to_the_bit(sample, seed):
    scores, frame_starts = sample
    rows = torch.stack([scores[np.random.default_rng(seed).permutation(len(scores))], scores])
    together = standardised_frame_scores(rows, frame_starts)
    for own, row in zip(together, rows, strict=True):
        np.testing.assert_array_equal(own, standardised_frame_scores(row, frame_starts))


@given(scores_and_frames(), st.integers(1, 9))
def test_joined_frames_hold_so_many_frames_each_but_the_last(sample, seconds):
    starts = sample[1].tolist()
    groups = [list(pairwise(starts))[i : i + seconds] for i in range(0, len(starts) - 1, seconds)]
    joined = join_frames(sample[1], seconds).tolist()
    assert list(pairwise(joined)) == [(group[0][0], group[-1][1]) for group in groups]


@given(scores_and_frames())
def test_frame_probabilities_are_a_softmax(sample):
    F = frame_scores(*sample)
    p = frame_probabilities(F)
    assert p.sum().item() == pytest.approx(1)
    assert (p > 0).all()
    np.testing.assert_allclose(p[1:] / p[:-1], np.exp(np.diff(F)), rtol=1e-9)


# ------------------------------------------------------------------------------------------------------------
# Frame budgets, Eq 7


@given(scores_and_frames(), st.integers(1, 200))
def test_fill_is_water_filling_with_largest_remainders(sample, budget):
    scores, frame_starts = sample
    p = frame_probabilities(frame_scores(scores, frame_starts))
    capacities = frame_starts.diff()
    n = frame_budgets(p, budget, capacities, "fill")
    assert n.dtype == torch.int64
    assert n.sum() == min(budget, len(scores))
    assert (n <= capacities).all()
    assert n.tolist() == water_filling(p, budget, capacities)


@given(SEEDS, st.integers(2, 20), st.integers(1, 8), st.integers(1, 160))
def test_a_likelier_frame_of_equal_size_never_gets_fewer(seed, num_frames, frame_tokens, budget):
    p = np.random.default_rng(seed).dirichlet(np.full(num_frames, 0.5)) + 1e-9
    n = frame_budgets(torch.from_numpy(p), budget, torch.full((num_frames,), frame_tokens), "fill")
    assert (np.diff(n[np.argsort(p)]) >= 0).all()


@given(scores_and_frames(), st.integers(1, 200))
def test_floor_is_the_equation_cut_at_what_a_frame_holds(sample, budget):
    scores, frame_starts = sample
    p = frame_probabilities(frame_scores(scores, frame_starts))
    capacities = frame_starts.diff()
    n = frame_budgets(p, budget, capacities, "floor")
    assert n.dtype == torch.int64
    for n_i, p_i, capacity in zip(n.tolist(), p, capacities.tolist(), strict=True):
        expected = budget * Fraction(float(p_i))
        either_side = {int(expected * (1 + sign * Fraction(1, 10**12))) for sign in (-1, 1)}
        assert n_i in {min(whole, capacity) for whole in either_side}


@pytest.mark.parametrize(("num_frames", "num_kept_by_floor"), [(30, 750), (88, 704), (3600, 0)])
def test_the_floor_loses_what_the_paper_leaves_open(num_frames, num_kept_by_floor):
    """Even frames of 25 tokens at K = 750: 30 s lose nothing, 88 s lose 46 tokens, an hour all."""
    p = torch.full((num_frames,), 1 / num_frames, dtype=torch.float64)
    capacities = torch.full((num_frames,), 25)
    assert frame_budgets(p, 750, capacities, "floor").sum() == num_kept_by_floor
    assert frame_budgets(p, 750, capacities, "fill").sum() == 750


def test_equal_remainders_go_to_the_earlier_frames():
    n = frame_budgets(torch.full((4,), 0.25), 6, torch.full((4,), 9), "fill")
    assert n.tolist() == [2, 2, 1, 1]


def test_what_a_full_frame_cannot_hold_goes_on_in_proportion():
    p = torch.tensor([0.8, 0.05, 0.15], dtype=torch.float64)
    n = frame_budgets(p, 45, torch.tensor([25, 25, 25]), "fill")
    assert n.tolist() == [25, 5, 15]


# ------------------------------------------------------------------------------------------------------------
# Survivors, Eqs 8 and 9, and phase 1 whole


@given(scores_and_frames(), SEEDS)
def test_every_frame_keeps_its_highest_tokens_and_ties_go_to_the_earlier(sample, seed):
    scores, frame_starts = sample
    budgets = np.random.default_rng(seed).integers(0, np.diff(frame_starts) + 1)
    for is_queued in (False, True):  # a CPU's way, a GPU's
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(phase1, "is_queued", lambda tensor, answer=is_queued: answer)
            kept = keep_by_frame(scores[None], torch.from_numpy(budgets)[None], frame_starts, budgets.sum())
        assert kept.dtype == torch.int64
        assert kept.tolist() == keep_by_sorting(scores, budgets, frame_starts)


@given(scores_and_frames(), SEEDS, st.integers(1, 4), st.integers(1, 150))
def test_several_questions_together_keep_what_each_alone_keeps(sample, seed, num_questions, budget):
    scores, frame_starts = sample
    generator = np.random.default_rng(seed)
    rows = torch.stack([scores[generator.permutation(len(scores))] for _ in range(num_questions)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase1, "is_queued", lambda tensor: seed % 2 == 0)
        together = first_phase(rows, budget, frame_starts, "fill")
    assert together.shape == (num_questions, min(budget, len(scores)))
    for own, row in zip(together, rows, strict=True):
        assert own.tolist() == first_phase(row, budget, frame_starts, "fill").tolist()


@settings(max_examples=60)
@given(embeddings(), st.data(), st.integers(1, 80))
def test_the_first_phase_is_the_equations_one_after_the_other(sample, data, budget):
    """From the embeddings on, every step by its naive form. The scores' own rounding decides ties."""
    audio_embeds, (query_embeds,) = sample
    s = np.round(cosines(audio_embeds, query_embeds).mean(axis=1) * 2**24) / 2**24
    frame_starts = torch.from_numpy(data.draw(frames_of(len(s))))
    F = [sum(s[a:b]) for a, b in pairwise(frame_starts.tolist())]
    p = [np.exp(F_i) / sum(np.exp(F)) for F_i in F]
    n = water_filling(p, budget, frame_starts.diff())
    (scores,) = token_scores(audio_embeds, [query_embeds])
    kept = first_phase(scores, budget, frame_starts, "fill")
    assert kept.tolist() == keep_by_sorting(s, n, frame_starts)


@given(scores_and_frames(), st.integers(0, 50))
def test_fewer_tokens_than_the_budget_are_all_kept(sample, num_spare):
    scores, frame_starts = sample
    kept = first_phase(scores, len(scores) + num_spare, frame_starts, "fill")
    assert kept.tolist() == list(range(len(scores)))


@pytest.mark.parametrize("allocation", ["fill", "floor"])
def test_one_token_and_none(allocation):
    one, none = torch.tensor([-0.5]), torch.zeros(0)
    for scores, kept in ((one, [0]), (none, [])):
        frame_starts = torch.from_numpy(equal_frames(len(scores), 25))
        assert first_phase(scores, 750, frame_starts, allocation).tolist() == kept


def test_the_examples_in_the_docstrings_hold():
    results = doctest.testmod(phase1)
    assert results.attempted > 0
    assert results.failed == 0
