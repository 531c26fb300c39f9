"""Accuracy across benchmarks, or across slices such as the answer's position: one panel per pruning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechprune.data import Row
from speechprune.sweep.figures.rows import error_lengths, group, line_name
from speechprune.sweep.figures.style import accuracy_axis, finish, line_styles, method_style, new_figure

MAX_PANELS = 4
MAX_LINES = 10
DODGE = 0.04  # between neighbouring lines' error bars, in units of a category


def accuracy_across(rows: list[Row], column: str, labels: Mapping[str, str], title: str) -> Figure | None:
    """One line per point over categories, with 95 % intervals; points without a rate stand in every panel.

    Of many rates, four are shown, from the lowest to the highest; of many lines, the ten that are
    right most often.

    - ``column``: the rows' column that holds the category.
    - ``labels``: the categories along the x axis, and what is written there.
    """
    rows = [row for row in rows if row[column] in labels]
    if len({row[column] for row in rows}) < 2:
        return None
    rates = sorted({row["pruning_rate"] for row in rows} - {None})
    shown = [rates[round(i)] for i in np.linspace(0, len(rates) - 1, min(MAX_PANELS, len(rates)))] or [None]
    num_columns = min(2, len(shown))
    num_rows = -(-len(shown) // num_columns)
    figure = new_figure(1.2 + 2.9 * num_rows if len(shown) > 1 else 4.6)
    panels: list[Axes] = []
    styles = line_styles({line_name(row): row["method"] for row in rows})
    for number, rate in enumerate(shown, start=1):
        axes = figure.add_subplot(num_rows, num_columns, number, sharey=panels[0] if panels else None)
        panels.append(axes)
        some = [row for row in rows if row["pruning_rate"] in (rate, None)]
        _draw_panel(axes, some, column, list(labels), styles)
        accuracy_axis(axes)
        if rate is not None:
            axes.set_title(f"pruning rate {rate:g}", fontsize=9.5, loc="left")
        turned = max(map(len, labels.values())) * len(labels) > 70 / num_columns
        axes.set_xticks(
            range(len(labels)),
            list(labels.values()),
            rotation=30 if turned else 0,
            ha="right" if turned else "center",
            fontsize=8.5,
        )
        axes.set_xlim(-0.4, len(labels) - 0.6)
        if number + num_columns <= len(shown):  # another panel is below
            axes.tick_params(bottom=False, labelbottom=False)
        if (number - 1) % num_columns:
            axes.set_ylabel("")
            axes.tick_params(left=False, labelleft=False)
    return finish(figure, panels, title)


def _draw_panel(
    axes: Axes, rows: list[Row], column: str, categories: Sequence[str], styles: Mapping[str, str]
) -> None:
    lines = group(rows, line_name)
    best = sorted(lines, key=lambda name: -float(np.mean([row["accuracy"] for row in lines[name]])))
    names = [name for name in lines if name in best[:MAX_LINES]]
    for number, name in enumerate(names):
        by_category = {row[column]: row for row in lines[name]}
        places = [i for i, category in enumerate(categories) if category in by_category]
        line = [by_category[categories[i]] for i in places]
        colour, marker = method_style(line[0]["method"])
        axes.errorbar(
            np.array(places) + DODGE * (number - (len(names) - 1) / 2),
            [row["accuracy"] for row in line],
            error_lengths(line),
            color=colour,
            marker=marker,
            markersize=5,
            elinewidth=0.8,
            linewidth=1.3,
            linestyle=styles[name],
            label=name,
        )
