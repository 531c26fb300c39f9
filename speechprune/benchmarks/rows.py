"""What every benchmark reader returns: manifest rows, and an account of what was left out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from speechprune.data import Row

Record = TypeVar("Record")


@dataclass
class Benchmark:
    """A benchmark as manifest rows."""

    rows: list[Row] = field(default_factory=list)
    """Manifest rows: ``item_id``, ``audio``, ``question``, ``choices``, ``answer`` (gold letter), ..."""

    unreadable: list[str] = field(default_factory=list)
    """One sentence for each record that could not be read: where it is and what is wrong with it."""

    num_too_short: int = 0
    """Records left out because their recording is not longer than the reader's minimum."""


def read_rows(records: Iterable[tuple[str, Record]], make_row: Callable[[Record], Row | None]) -> Benchmark:
    """Make a manifest row of every record; one that cannot be read is named and left out.

    Records come with their place, for messages; ``make_row`` returns None for too short a recording.
    """
    benchmark = Benchmark()
    for place, record in records:
        try:
            row = make_row(record)
        except KeyError as error:
            benchmark.unreadable.append(f"{place}: field {error} is missing")
        except (ValueError, TypeError, AttributeError, OSError) as error:
            benchmark.unreadable.append(f"{place}: {error}")
        else:
            if row is None:
                benchmark.num_too_short += 1
            else:
                benchmark.rows.append(row)
    return benchmark
