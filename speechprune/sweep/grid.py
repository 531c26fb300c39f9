"""The grid of a sweep: every combination of the settings given, as points, and which are reported as one."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from speechprune.inference.point import DEFAULT_QUERY_TEXT, Point
from speechprune.inference.prompts import QueryText
from speechprune.pruning import METHODS, PruningMethod, method_class
from speechprune.pruning.base import features_of
from speechprune.pruning.options import make_method


def expand_grid(blocks: Sequence[dict[str, Any]], query_text: QueryText) -> list[Point]:
    """All points of a grid, each once, in the order given.

    - ``blocks``: each a dict of settings whose values are one value or a list of them: all combinations are
      points. ``method`` is needed; a setting goes to those of the block's methods that have it.
    - ``query_text``: of the points that don't state one.

    Raises
    ------
    ValueError
        An unknown method or setting (the nearest is named), a value that its method refuses, or two methods
        or features of one name.
    """
    points: dict[str, Point] = {}
    kinds: dict[str, type[PruningMethod]] = {}
    for number, block in enumerate(blocks, start=1):
        where = f"points, block {number}"
        if "method" not in block:
            raise ValueError(f"{where}: method is missing, give one or a list of {', '.join(METHODS)}")
        axes = {name: value if isinstance(value, list | tuple) else [value] for name, value in block.items()}
        for name, values in axes.items():
            if not values:
                raise ValueError(f"{where}: {name} is an empty list, give at least one value")
        _check_names(axes, where)
        for combination in itertools.product(*axes.values()):
            point = _make_point(dict(zip(axes, combination, strict=True)), query_text, where)
            kind = type(point.method)
            if (other := kinds.setdefault(kind.name, kind)) is not kind:
                raise ValueError(
                    f"{where}: {_import_path(kind)} and {_import_path(other)} are both named {kind.name!r}: "
                    "give one of them another name"
                )
            points.setdefault(point.name, point)
    if not points:
        raise ValueError(
            "points is empty: give at least one, such as {method: speechprune, pruning_rate: 0.2}"
        )
    features_of(kinds.values())
    return list(points.values())


def _import_path(kind: type[PruningMethod]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _check_names(axes: dict[str, Any], where: str) -> None:
    try:
        kinds = [method_class(str(method)) for method in axes["method"]]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    known = {"method", *(["query_text"] if any(kind.features for kind in kinds) else [])}
    known |= {f.name for kind in kinds for f in dataclasses.fields(kind)}
    for name in axes:
        if name not in known:
            close = difflib.get_close_matches(str(name), sorted(known), n=1)
            hint = f"did you mean {close[0]}?" if close else f"valid here: {', '.join(sorted(known))}"
            raise ValueError(f"{where}: {' or '.join(axes['method'])} has no setting {name}: {hint}")


def _make_point(settings: dict[str, Any], query_text: QueryText, where: str) -> Point:
    known = {f.name for f in dataclasses.fields(method_class(settings["method"]))}
    own = {name: value for name, value in settings.items() if name in known}
    text = settings.get("query_text", query_text)
    if text not in get_args(QueryText):
        raise ValueError(f"{where}: query_text is {text!r}: give {' or '.join(get_args(QueryText))}")
    try:
        method = make_method(settings["method"], own)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Point(method=method, query_text=text if method.features else DEFAULT_QUERY_TEXT)


@dataclass(frozen=True)
class PointGroup:
    """Points that differ in nothing but their seed; ``rows`` are their places in the grid."""

    name: str
    settings: dict[str, Any]
    rows: list[int]

    def agrees_with(self, settings: dict[str, Any]) -> bool:
        """Whether it has all of the settings."""
        return all(name in self.settings and self.settings[name] == settings[name] for name in settings)


def group_points(points: Sequence[Point]) -> list[PointGroup]:
    """The groups of a grid, each where its first point is."""
    groups: dict[str, PointGroup] = {}
    for row, point in enumerate(points):
        settings = {name: value for name, value in point.settings.items() if name != "seed"}
        groups.setdefault(point.group_name, PointGroup(point.group_name, settings, [])).rows.append(row)
    return list(groups.values())


def check_reference(points: Sequence[Point], reference: dict[str, Any] | None) -> None:
    """Refuse a reference that is not in the grid, with a ValueError."""
    groups = group_points(points)
    if reference is not None and not any(group.agrees_with(reference) for group in groups):
        wanted = ", ".join(f"{name}: {value}" for name, value in reference.items())
        raise ValueError(
            f"reference {{{wanted}}} is no point of the grid; its points are "
            + ", ".join(group.name for group in groups)
        )


def find_reference(
    group: PointGroup, groups: Sequence[PointGroup], reference: dict[str, Any] | None
) -> PointGroup | None:
    """The one group that a group is tested against; None if there isn't exactly one other.

    ``reference``: settings that it has. Where several groups have them, it is the one that also has this
    group's pruning rate, and if those are several still, its phase 1 budget.
    """
    if reference is None:
        return None
    found = [other for other in groups if other.agrees_with(reference)]
    for name in ("pruning_rate", "phase1_budget"):
        if len(found) > 1:
            found = [other for other in found if other.settings.get(name) == group.settings.get(name)]
    return found[0] if len(found) == 1 and found[0] is not group else None
