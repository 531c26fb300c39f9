"""Intervals and paired tests against their textbook formulas."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.reports.statistics import mcnemar_p, wilson_interval


@given(num_items=st.integers(1, 3000), share=st.floats(0, 1))
def test_wilsons_interval_is_its_closed_formula(num_items, share):
    num_right = round(share * num_items)
    p, z, n = num_right / num_items, NormalDist().inv_cdf(0.975), num_items
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = wilson_interval(num_right, num_items)
    assert low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert high == pytest.approx(min(1, centre + half), abs=1e-9)
    assert 0 <= low <= p <= high <= 1


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


def test_mcnemars_p_by_hand():
    """Eight against one: 2 (1 + 9) / 512; what both or neither got right does not count."""
    assert mcnemar_p(*answers(100, 8, 1, 50)) == pytest.approx(20 / 512)
    assert mcnemar_p(*answers(0, 8, 1, 0)) == pytest.approx(20 / 512)
    assert mcnemar_p(*answers(7, 0, 0, 3)) == 1


def test_methods_answered_different_items():
    with pytest.raises(ValueError, match="zip"):
        mcnemar_p([True, False], [True])
