"""The figures of a sweep, each drawn only where the sweep has what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
import pyarrow as pa
from matplotlib.figure import Figure

from speechprune.sweep.figures.across import accuracy_across
from speechprune.sweep.figures.by_budget import accuracy_by_budget
from speechprune.sweep.figures.by_rate import accuracy_by_cost, accuracy_by_rate
from speechprune.sweep.figures.rows import (
    Row,
    file_names,
    in_slice,
    judged,
    short_names,
    slice_kinds,
)
from speechprune.sweep.figures.seconds import seconds_by_stage
from speechprune.sweep.figures.style import SETTINGS, render
from speechprune.sweep.slices import ALL_ITEMS, HARD_ITEMS

# slices that follow one another, as a line over them says
ORDERED_KINDS = {"position": "position of the answer", "length": "length of the recording"}

__all__ = ["SweepFigure", "draw_figures", "render"]


@dataclass(frozen=True)
class SweepFigure:
    """A figure and what it shows.

    Parameters
    ----------
    name
        Of its files, without suffix.
    model, benchmark
        What it is about; ``benchmark`` is None for figures over all of them.
    title
        One plain line.
    """

    name: str
    model: str
    benchmark: str | None
    title: str
    figure: Figure


def draw_figures(points: pa.Table) -> list[SweepFigure]:
    """Every figure that a points table has the rows for, by model, then benchmark.

    Parameters
    ----------
    points
        Rows of ``POINTS_SCHEMA``; models and benchmarks appear in their order.
    """
    rows: list[Row] = points.to_pylist()
    models = list(dict.fromkeys(row["model"] for row in rows))
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    model_files, benchmark_files = file_names(models), file_names(benchmarks)
    figures = []
    with matplotlib.rc_context(SETTINGS):
        for model, short in short_names(models).items():
            of_model = judged(row for row in rows if row["model"] == model)
            suffix = f"-{model_files[model]}" if len(models) > 1 else ""
            for benchmark in benchmarks:
                of_benchmark = [row for row in of_model if row["benchmark"] == benchmark]
                end = f"{suffix}-{benchmark_files[benchmark]}" if len(benchmarks) > 1 else suffix
                for name, title, figure in _of_one_benchmark(of_benchmark, f"{short}, {benchmark}"):
                    figures.append(SweepFigure(name + end, model, benchmark, title, figure))
            for name, title, figure in _over_benchmarks(of_model, benchmarks, short):
                figures.append(SweepFigure(name + suffix, model, None, title, figure))
    return figures


def _of_one_benchmark(rows: list[Row], about: str) -> Iterator[tuple[str, str, Figure]]:
    """Name, title and figure of all that there is to draw."""
    for name, items in ((ALL_ITEMS, ""), (HARD_ITEMS, "_hard")):
        some = in_slice(rows, name)
        counted = f"{about} ({_num_items(some):,}{' hard' if items else ''} items)"
        title = f"Accuracy against pruning rate: {counted}"
        if (figure := accuracy_by_rate(some, title)) is not None:
            yield f"accuracy_by_rate{items}", title, figure
        title = f"Accuracy against cost: {counted}"
        if not items and (figure := accuracy_by_cost(some, title)) is not None:
            yield "accuracy_by_cost", title, figure
        title = f"Accuracy against phase 1's budget: {counted}"
        if not items and (figure := accuracy_by_budget(some, title)) is not None:
            yield "accuracy_by_budget", title, figure
    kinds = slice_kinds(rows)
    for kind, meaning in ORDERED_KINDS.items():
        title = f"Accuracy by {meaning}: {about}"
        slices = kinds.get(kind, [])
        labels = [name.split(": ", 1)[1] for name in slices]
        if (figure := accuracy_across(rows, "slice", slices, labels, title)) is not None:
            yield f"accuracy_by_{kind}", title, figure


def _over_benchmarks(rows: list[Row], benchmarks: list[str], short: str) -> Iterator[tuple[str, str, Figure]]:
    rows = in_slice(rows, ALL_ITEMS)
    title = f"Accuracy by benchmark: {short}"
    if (figure := accuracy_across(rows, "benchmark", benchmarks, benchmarks, title)) is not None:
        yield "accuracy_by_benchmark", title, figure
    title = f"Seconds an answer, and pruning's share of it without encoding: {short}"
    if (figure := seconds_by_stage(rows, benchmarks, title)) is not None:
        yield "seconds_by_stage", title, figure


def _num_items(rows: list[Row]) -> int:
    return max((row["num_items"] for row in rows), default=0)
