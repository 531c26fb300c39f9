"""The grid of a sweep: every combination of the settings given, as points."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Sequence
from typing import Any, get_args

from speechprune.inference.point import DEFAULT_QUERY_TEXT, Point
from speechprune.inference.prompts import QueryText
from speechprune.pruning import METHODS, method_class
from speechprune.pruning.options import make_method


def expand_grid(blocks: Sequence[dict[str, Any]], query_text: QueryText) -> list[Point]:
    """All points of a grid, each once, in the order given.

    Parameters
    ----------
    blocks
        Each a dict of settings whose values are one value or a list of them: all combinations are points.
        ``method`` is needed; a setting goes to those of the block's methods that have it.
    query_text
        Of the points that don't state one.

    Raises
    ------
    ValueError
        An unknown method or setting (the nearest is named), or a value that its method refuses.
    """
    points: dict[str, Point] = {}
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
            points.setdefault(point.name, point)
    if not points:
        raise ValueError(
            "points is empty: give at least one, such as {method: speechprune, pruning_rate: 0.2}"
        )
    return list(points.values())


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
