"""Intervals and paired tests against scipy, statsmodels and their textbook formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from speechprune.sweep.statistics import mcnemar_p, wilson_interval


@st.composite
def counts(draw) -> tuple[int, int]:
    num_items = draw(st.integers(1, 3000))
    return draw(st.integers(0, num_items)), num_items


@given(counts())
def test_wilsons_interval_is_scipys_and_statsmodels(right_of):
    num_right, num_items = right_of
    interval = wilson_interval(num_right, num_items)
    scipys = stats.binomtest(num_right, num_items).proportion_ci(0.95, method="wilson")
    assert interval == pytest.approx((scipys.low, scipys.high), abs=1e-12)
    assert interval == pytest.approx(proportion_confint(num_right, num_items, method="wilson"), abs=1e-12)


@given(num_items=st.integers(1, 3000), share=st.floats(0, 1))
def test_wilsons_interval_takes_a_mean_over_seeds(num_items, share):
    low, high = wilson_interval(share * num_items, num_items)
    assert 0 <= low <= share * num_items / num_items <= high <= 1
    whole_low, _ = wilson_interval(math.floor(share * num_items), num_items)
    _, whole_high = wilson_interval(math.ceil(share * num_items), num_items)
    assert whole_low - 1e-12 <= low
    assert high <= whole_high + 1e-12


@given(num_items=st.integers(1, 3000))
def test_wilsons_interval_ends_where_all_or_none_are_right(num_items):
    assert wilson_interval(0, num_items)[0] == 0
    assert wilson_interval(num_items, num_items)[1] == 1


def test_wilsons_interval_by_hand():
    """850 of 1,000: centre (0.85 + 0.00192) / 1.00384 = 0.84866, half 0.02212."""
    assert wilson_interval(850, 1000) == pytest.approx((0.82654, 0.87078), abs=5e-5)


def answers(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    right = [True] * (both + first) + [False] * (second + neither)
    other = [True] * both + [False] * first + [True] * second + [False] * neither
    return right, other


@given(
    both=st.integers(0, 30), first=st.integers(0, 60), second=st.integers(0, 60), neither=st.integers(0, 30)
)
def test_mcnemars_p_is_the_sum_of_all_splits_as_unlikely(both, first, second, neither):
    n = first + second
    expected = sum(math.comb(n, k) / 2**n for k in range(n + 1) if abs(2 * k - n) >= abs(first - second))
    right, other = answers(both, first, second, neither)
    assert mcnemar_p(right, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(other, right) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(np.array(right), np.array(other)) == mcnemar_p(right, other)


@given(
    both=st.integers(0, 9), first=st.integers(0, 900), second=st.integers(0, 900), neither=st.integers(0, 9)
)
def test_mcnemars_p_is_scipys_and_statsmodels(both, first, second, neither):
    p = mcnemar_p(*answers(both, first, second, neither))
    assert p == pytest.approx(mcnemar([[both, first], [second, neither]], exact=True).pvalue, rel=1e-9)
    if first + second:
        assert p == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)


def test_mcnemars_p_by_hand():
    """Eight against one: 2 (1 + 9) / 512; what both or neither got right does not count."""
    assert mcnemar_p(*answers(100, 8, 1, 50)) == pytest.approx(20 / 512)
    assert mcnemar_p(*answers(0, 8, 1, 0)) == pytest.approx(20 / 512)
    assert mcnemar_p(*answers(7, 0, 0, 3)) == 1


def test_methods_answered_different_items():
    with pytest.raises(ValueError, match="2 answers against 1"):
        mcnemar_p([True, False], [True])
