"""The figures of a sweep, each drawn only where the sweep has what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
import pyarrow as pa
from matplotlib.figure import Figure

from speechprune.data import Row
from speechprune.sweep.figures.across import accuracy_across
from speechprune.sweep.figures.by_budget import accuracy_by_budget
from speechprune.sweep.figures.by_rate import accuracy_by_cost, accuracy_by_rate
from speechprune.sweep.figures.rows import file_names, in_slice, judged, short_names, slice_kinds
from speechprune.sweep.figures.seconds import seconds_by_stage
from speechprune.sweep.figures.style import SETTINGS, render
from speechprune.sweep.slices import ALL_ITEMS, HARD_ITEMS

# slices with an order, so that a line over them has a meaning
ORDERED_KINDS = {"position": "position of the answer", "length": "length of the recording"}

Drawn = tuple[str, str, Figure | None]  # name, title, figure

__all__ = ["SweepFigure", "draw_figures", "render"]


@dataclass(frozen=True)
class SweepFigure:
    """A figure and the name of its files; ``benchmark`` is None for a figure over all benchmarks."""

    name: str
    model: str
    benchmark: str | None
    title: str
    figure: Figure


def draw_figures(points: pa.Table) -> list[SweepFigure]:
    """Every figure that rows of ``POINTS_SCHEMA`` suffice for, by model, then benchmark, in their order."""
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
                    if figure is not None:
                        figures.append(SweepFigure(name + end, model, benchmark, title, figure))
            for name, title, figure in _over_benchmarks(of_model, benchmarks, short):
                if figure is not None:
                    figures.append(SweepFigure(name + suffix, model, None, title, figure))
    return figures


def _of_one_benchmark(rows: list[Row], about: str) -> Iterator[Drawn]:
    """Name, title and figure of every figure about one model and benchmark; None where there is nothing."""
    of_all, hard = in_slice(rows, ALL_ITEMS), in_slice(rows, HARD_ITEMS)
    counted = f"{about} ({_num_items(of_all):,} items)"
    counted_hard = f"{about} ({_num_items(hard):,} hard items)"
    for name, title, some, draw in (
        ("accuracy_by_rate", f"Accuracy against pruning rate: {counted}", of_all, accuracy_by_rate),
        ("accuracy_by_cost", f"Accuracy against cost: {counted}", of_all, accuracy_by_cost),
        ("accuracy_by_budget", f"Accuracy against phase 1's budget: {counted}", of_all, accuracy_by_budget),
        ("accuracy_by_rate_hard", f"Accuracy against pruning rate: {counted_hard}", hard, accuracy_by_rate),
    ):
        yield name, title, draw(some, title)
    for kind, meaning in ORDERED_KINDS.items():
        title = f"Accuracy by {meaning}: {about}"
        labels = {name: name.split(": ", 1)[1] for name in slice_kinds(rows).get(kind, [])}
        yield f"accuracy_by_{kind}", title, accuracy_across(rows, "slice", labels, title)


def _over_benchmarks(rows: list[Row], benchmarks: list[str], short: str) -> Iterator[Drawn]:
    """The same of the figures about one model and all benchmarks."""
    rows = in_slice(rows, ALL_ITEMS)
    title = f"Accuracy by benchmark: {short}"
    labels = {name: name for name in benchmarks}
    yield "accuracy_by_benchmark", title, accuracy_across(rows, "benchmark", labels, title)
    title = f"Seconds an answer, and pruning's share of it without encoding: {short}"
    yield "seconds_by_stage", title, seconds_by_stage(rows, benchmarks, title)


def _num_items(rows: list[Row]) -> int:
    return max((row["num_items"] for row in rows), default=0)
