"""How far a count of right answers can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

CONFIDENCE = 0.95


def wilson_interval(num_right: int, num_items: int) -> tuple[float, float]:
    """95 % interval of an accuracy: Wilson's score interval for a binomial share, 0 to 1."""
    interval = stats.binomtest(num_right, num_items).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_p(right: Sequence[bool], other_right: Sequence[bool]) -> float:
    """Exact McNemar test of two methods on the same items.

    Of the items that exactly one of the two got right, each of the two should have half if they were
    equally good: the two-sided binomial probability of a split at least this uneven.
    """
    pairs = list(zip(right, other_right, strict=True))
    only_one = sum(a and not b for a, b in pairs)
    only_other = sum(b and not a for a, b in pairs)
    if only_one + only_other == 0:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_other).pvalue)
