"""Points of a sweep: accuracy, tests and cost of each, from the answers of all items."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune.data import Row
from speechprune.data.columns import aggregated
from speechprune.inference.point import Point
from speechprune.sweep.answer_sheet import AnswerSheet, answer_sheets
from speechprune.sweep.grid import PointGroup, find_reference, group_points
from speechprune.sweep.schema import POINTS_SCHEMA
from speechprune.sweep.slices import check_slices, columns_for, item_slices
from speechprune.sweep.statistics import mcnemar_p, wilson_interval

COST_TOLERANCE = 1e-9  # relative: the same FLOPs as a mean over one seed and over three differ by rounding


def points_table(
    answers: pa.Table,
    points: Sequence[Point],
    *,
    slices: Sequence[str] = (),
    reference: dict[str, Any] | None = None,
) -> pa.Table:
    """Accuracy, test and cost of each point of a grid, for every model, benchmark and slice of the items.

    All numbers of a row are about the same items: those of the slice with a gold letter that every seed of
    the point answered. A mean over seeds is a mean over items and seeds. Its interval is Wilson's over the
    items, as if there were one seed: seeds share their items, so more seeds don't make it narrower, which
    is rather too wide than too narrow. Of the tests against the reference, on the items that all seeds of
    both answered, one for each pair of seeds, the largest p-value is reported: the least certain.

    Parameters
    ----------
    answers
        Rows of ``ITEM_COLUMNS`` and ``ANSWER_COLUMNS``, with ``benchmark``, ``point`` (a name), ``status``
        and the manifest's other columns, in any order; an item has one row with status ``ok`` for a
        point, or none. A column that is missing counts as null.
    points
        The grid; answers of other points are left out.
    slices
        Besides all items and the hard ones, see ``item_slices``.
    reference
        Settings of the point that the others are tested against, see ``find_reference``.

    Returns
    -------
    pa.Table
        ``POINTS_SCHEMA``: by model and benchmark, then slice, then the grid's order. The same answers give
        the same table to the last bit, but for ``MEASURED_COLUMNS`` of answers that were made again.

    Raises
    ------
    ValueError
        See ``check_slices``.
    """
    check_slices(answers, slices)
    groups = group_points(points)
    rows: list[Row] = []
    for sheet in answer_sheets(answers, points, columns_for(slices)):
        for name, is_chosen in item_slices(sheet, slices):
            of_slice = _slice_rows(sheet.of(is_chosen), groups, reference)
            rows += [
                {"model": sheet.model, "benchmark": sheet.benchmark, "slice": name} | r for r in of_slice
            ]
    return pa.Table.from_pylist(rows, schema=POINTS_SCHEMA)


def _slice_rows(
    sheet: AnswerSheet, groups: Sequence[PointGroup], reference: dict[str, Any] | None
) -> list[Row]:
    rows = [
        _key(group)
        | _accuracy(sheet, group)
        | _test(sheet, group, find_reference(group, groups, reference))
        | _cost(sheet, group)
        for group in groups
    ]
    for row in rows:
        row["is_pareto"] = _is_pareto(row, rows)
    return rows


def _key(group: PointGroup) -> Row:
    return {
        "point": group.name,
        "method": group.settings["method"],
        "pruning_rate": group.settings.get("pruning_rate"),
        "settings": json.dumps(group.settings),
        "num_seeds": len(group.rows),
    }


def _is_judged(sheet: AnswerSheet, group: PointGroup) -> np.ndarray:
    """The items with a gold letter that every seed answered."""
    return ~np.isnan(sheet.numbers["correct"][group.rows]).any(axis=0)


def _accuracy(sheet: AnswerSheet, group: PointGroup) -> Row:
    is_judged = _is_judged(sheet, group)
    num_items = int(is_judged.sum())
    counts: Row = {
        "num_items": num_items,
        "num_failed": int((~sheet.is_answered[group.rows]).any(axis=0).sum()),
    }
    if num_items == 0:
        return counts
    num_right = sheet.numbers["correct"][group.rows][:, is_judged].sum(axis=1)  # of each seed
    low, high = wilson_interval(num_right.sum() / len(num_right), num_items)
    return counts | {
        "accuracy": num_right.sum() / (len(num_right) * num_items),
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_lowest_seed": num_right.min() / num_items,
        "accuracy_highest_seed": num_right.max() / num_items,
        "accuracy_permuted": _mean(sheet.numbers["correct_permuted"][group.rows][:, is_judged]),
        "accuracy_without_audio": _mean(sheet.numbers["correct_without_audio"][group.rows][:, is_judged]),
        "majority_letter_accuracy": np.bincount(sheet.gold[is_judged]).max() / num_items,
    }


def _test(sheet: AnswerSheet, group: PointGroup, reference: PointGroup | None) -> Row:
    if reference is None:
        return {}
    of_both = _is_judged(sheet, group) & _is_judged(sheet, reference)
    if not of_both.any():
        return {"reference": reference.name}
    right, other = (sheet.numbers["correct"][g.rows][:, of_both] == 1 for g in (group, reference))
    return {
        "reference": reference.name,
        "difference": right.mean() - other.mean(),
        "p_value": max(mcnemar_p(seed, other_seed) for seed, other_seed in itertools.product(right, other)),
    }


def _cost(sheet: AnswerSheet, group: PointGroup) -> Row:
    is_judged = _is_judged(sheet, group)
    own = {name: values[group.rows][:, is_judged] for name, values in sheet.numbers.items()}
    row: Row = {name: _mean(own[name]) for name in aggregated(sweep="mean")}
    row |= {name: _largest(own[name]) for name in aggregated(sweep="max")}
    row["memory_bytes"] = _mean(own["weights_bytes"] + own["kv_cache_bytes"])
    row["tflops_question"] = _mean(own["tflops_total"] - own["tflops_encode"])
    seconds = [row[f"seconds_{stage}"] for stage in ("prune", "prefill", "generate")]
    if all(value is not None for value in seconds) and sum(seconds) > 0:
        row["prune_share"] = seconds[0] / sum(seconds)
    return row


def _mean(values: np.ndarray) -> float | None:
    """Of what is not null, in the order of the array."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _largest(values: np.ndarray) -> float | None:
    """Of what is not null."""
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else None


def _is_pareto(row: Row, rows: Sequence[Row]) -> bool | None:
    """Whether no other point is as accurate and as cheap, and more accurate or cheaper.

    None for a point whose accuracy or cost is not known.
    """
    own_accuracy, own_cost = row.get("accuracy"), row["tflops_question"]
    if own_accuracy is None or own_cost is None:
        return None
    for other in rows:
        accuracy, cost = other.get("accuracy"), other["tflops_question"]
        if accuracy is None or cost is None or accuracy < own_accuracy:
            continue
        if cost > own_cost * (1 + COST_TOLERANCE):
            continue
        if accuracy > own_accuracy or cost < own_cost * (1 - COST_TOLERANCE):
            return False
    return True
