"""Numbers as text, the same in every table and report."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share in percent, without the sign."""
    return f"{100 * share:.1f}"


def significant(number: float) -> str:
    """Three significant figures, without an exponent where the number can be read without one."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def p_value(p: float) -> str:
    """Three decimals; all smaller ones read ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def clock(seconds: float) -> str:
    """Minutes and seconds as a player shows them: ``1:02.5``."""
    minutes, seconds = divmod(seconds, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def counted(number: int, noun: str) -> str:
    """A number with what it counts: ``1 recording``, ``2 recordings``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
