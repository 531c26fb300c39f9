"""Filter of a search by columns that describe recordings (``search.where``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from speechprune.config import ConfigError, nearest
from speechprune.data import Row

Scalar = str | int | float | bool | None
Conditions = Mapping[str, Scalar | tuple[Scalar, ...]]
_DATE = re.compile(r"\d{4}-\d\d")  # begins every date in ISO form


def recordings_where(rows: Sequence[Row], where: Conditions) -> set[str]:
    """Return the recordings that meet all conditions; of one with several rows, in one of them.

    Parameters
    ----------
    rows
        ``audio`` with the columns of that recording.
    where
        For each column a value; several, of which one is to be found; or two numbers or dates, the first and
        the last of a range, null for an open end. Dates are compared as they are written, in ISO form, and
        as far as the condition goes: 2025-06 is all of that month. A column that holds a list meets a
        condition that one of its values meets.

    Raises
    ------
    ConfigError
        No recording has such a column.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in where:
        if name not in columns:
            raise ConfigError(f"search.where: recordings have no column {name}: {nearest(name, columns)}")
    return {
        row["audio"] for row in rows if all(_meets(row.get(name), wanted) for name, wanted in where.items())
    }


def _meets(value: Any, wanted: Scalar | tuple[Scalar, ...]) -> bool:
    if isinstance(value, list | tuple):
        return any(_meets(one, wanted) for one in value)
    if not isinstance(wanted, tuple):
        return _compared(value, wanted) == 0
    if not _is_range(wanted):
        return any(_meets(value, one) for one in wanted)
    first, last = (0 if end is None else _compared(value, end) for end in wanted)
    return first is not None and last is not None and last <= 0 <= first


def _is_range(wanted: tuple[Scalar, ...]) -> bool:
    ends = [end for end in wanted if end is not None]
    return len(wanted) == 2 and bool(ends) and all(_is_number(end) or _is_date(end) for end in ends)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.match(value) is not None


def _compared(value: Any, wanted: Scalar) -> int | None:
    """-1, 0 or 1 for a value below, equal to or above the wanted one; None where they can't be compared."""
    if value is None or wanted is None:
        return 0 if value is wanted else None
    if _is_number(wanted):
        try:
            own, other = float(value), float(wanted)
        except (TypeError, ValueError):
            return None
        return (own > other) - (own < other)
    if _is_date(wanted):
        end = str(wanted).replace("T", " ")
        day = str(value).replace("T", " ")[: len(end)]
        return (day > end) - (day < end) if _is_date(day) else None
    texts = [str(one).casefold() if isinstance(wanted, bool) else str(one) for one in (value, wanted)]
    return 0 if texts[0] == texts[1] else None
