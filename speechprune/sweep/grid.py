"""The grid of a sweep: every combination of the settings given, as points."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from speechprune.inference.point import DEFAULT_QUERY_TEXT, Point
from speechprune.inference.prompts import QueryText
from speechprune.pruning import METHODS


def expand_grid(blocks: Sequence[dict[str, Any]], query_text: QueryText) -> list[Point]:
    """All points of a grid, each once, in the order given.

    Parameters
    ----------
    blocks
        Each a dict of settings whose values are one value or a list of them: all combinations are points.
        ``method`` is needed; a setting goes to those of the block's methods that have it.
    query_text
        Of the points that don't say.

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
    for method in axes["method"]:
        if not isinstance(method, str) or method not in METHODS:
            raise ValueError(f"{where}: unknown method {method!r}: {_nearest(str(method), list(METHODS))}")
    known = {"method", *(["query_text"] if any(METHODS[m].uses_query for m in axes["method"]) else [])}
    known |= {f.name for method in axes["method"] for f in dataclasses.fields(METHODS[method])}
    for name in axes:
        if name not in known:
            methods = " or ".join(axes["method"])
            raise ValueError(
                f"{where}: {methods} has no setting {name}: {_nearest(str(name), sorted(known))}"
            )


def _nearest(name: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]}?" if close else f"valid here: {', '.join(valid)}"


def _make_point(settings: dict[str, Any], query_text: QueryText, where: str) -> Point:
    kind = METHODS[settings["method"]]
    own = {f.name: settings[f.name] for f in dataclasses.fields(kind) if f.name in settings}
    text = settings.get("query_text", query_text)
    if text not in get_args(QueryText):
        raise ValueError(f"{where}: query_text is {text!r}: give {' or '.join(get_args(QueryText))}")
    try:
        method = TypeAdapter(kind).validate_python(own)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "value_error":  # from a __post_init__, whose sentence begins with the setting
            raise ValueError(f"{where}: {problem['ctx']['error']}") from error
        wrong = f"{problem['loc'][0]} is {problem['input']!r}"
        raise ValueError(f"{where}: {wrong}: {problem['msg'][0].lower()}{problem['msg'][1:]}") from error
    point = Point(method=method, query_text=text)
    return point if method.uses_query else replace(point, query_text=DEFAULT_QUERY_TEXT)
