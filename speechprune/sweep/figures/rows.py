"""Rows of the points table, as the figures and tables of a report take them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from speechprune.data import Row

Key = TypeVar("Key", bound=Hashable)


def group(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, list[Row]]:
    """Rows by a key; keys and rows in the order in which they come."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def judged(rows: Iterable[Row]) -> list[Row]:
    """Those that have an accuracy: a slice without items has none."""
    return [row for row in rows if row["accuracy"] is not None]


def in_slice(rows: Iterable[Row], name: str) -> list[Row]:
    """Those of one slice that have an accuracy."""
    return [row for row in judged(rows) if row["slice"] == name]


def line_name(row: Row, *, without: str = "pruning_rate") -> str:
    """The point's name without one of its settings: what the points of a line share."""
    method, _, settings = row["point"].partition("(")
    kept = [part for part in settings.rstrip(")").split(", ") if part and not part.startswith(f"{without}=")]
    return f"{method}({', '.join(kept)})" if kept else method


def lines_over_rates(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Points with a pruning rate, by method and all other settings, each line by ascending rate."""
    rated = sorted((row for row in rows if row["pruning_rate"] is not None), key=lambda r: r["pruning_rate"])
    order = list(dict.fromkeys(line_name(row) for row in rows if row["pruning_rate"] is not None))
    lines = group(rated, line_name)
    return {name: lines[name] for name in order}


def setting(row: Row, name: str) -> Any:
    """A setting of the row's point; None where its method has none of the name."""
    return json.loads(row["settings"]).get(name)


def first_value(rows: Iterable[Row], column: str) -> Any:
    """The first that is not null: of columns that are the same for all points of a slice."""
    return next((row[column] for row in rows if row[column] is not None), None)


def error_lengths(rows: Iterable[Row]) -> list[list[float]]:
    """How far the 95 % interval reaches below and above each accuracy, as matplotlib takes it."""
    rows = list(rows)
    return [[abs(row["accuracy"] - row[f"accuracy_{end}"]) for row in rows] for end in ("low", "high")]


def slice_kinds(rows: Iterable[Row]) -> dict[str, list[str]]:
    """``kind: value`` slices: kind -> its slices' names, in the order in which they come."""
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(row["slice"] for row in rows):
        if ": " in name:
            kinds.setdefault(name.split(": ", 1)[0], []).append(name)
    return kinds


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Models by the last part of their path, or by all of it where two would be called the same."""
    last = {model: model.rstrip("/").rsplit("/", 1)[-1] for model in models}
    return {m: name if list(last.values()).count(name) == 1 else m for m, name in last.items()}


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Every name as part of a file name, no two the same."""
    taken: dict[str, str] = {}
    for name in names:
        base = re.sub(r"[^\w.-]+", "_", name).strip("_.") or "unnamed"
        number = 1
        while (candidate := base if number == 1 else f"{base}-{number}") in taken.values():
            number += 1
        taken[name] = candidate
    return taken
