"""Confidence intervals and tests of accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy import special

CONFIDENCE = 0.95


def wilson_interval(num_right: float, num_items: int) -> tuple[float, float]:
    """95 % interval of an accuracy: Wilson's score interval for a binomial share, 0 to 1.

    (p + z²/2n ± z·√(p(1 - p)/n + z²/4n²)) / (1 + z²/n), with p = right/n and z = 1.96, the normal quantile
    of 97.5 %. Never outside of 0 to 1, and p is always in it.

    Parameters
    ----------
    num_right
        Need not be whole: a mean over seeds has as wide an interval as one seed.
    num_items
        n, at least 1.
    """
    n, p = num_items, num_right / num_items
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return min(p, max(0.0, low)), max(p, min(1.0, high))  # the ends are p where p is 0 or 1, but for rounding


def mcnemar_p(right: Sequence[bool] | np.ndarray, other_right: Sequence[bool] | np.ndarray) -> float:
    """Exact McNemar test of two methods on the same items.

    Of the items that exactly one of the two got right, each of the two should have half if they were
    equally good: the two-sided binomial probability of a split at least this uneven, where b items are right
    for the one alone and c for the other, is min(1, 2·Σ_{i ≤ min(b, c)} C(b + c, i) / 2^(b + c)).
    """
    one, other = np.asarray(right, bool), np.asarray(other_right, bool)
    if one.shape != other.shape:
        raise ValueError(f"{one.size} answers against {other.size}: McNemar's test is of the same items")
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return min(1.0, 2 * float(special.bdtr(min(only_one, only_other), only_one + only_other, 0.5)))
