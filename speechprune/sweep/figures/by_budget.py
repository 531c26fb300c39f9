"""Accuracy against phase 1's budget: how the work is best split between the phases."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
from matplotlib.figure import Figure

from speechprune.data import Row
from speechprune.sweep.figures.rows import error_lengths, group, line_name, setting
from speechprune.sweep.figures.style import accuracy_axis, finish, method_style, new_figure

BUDGET = "phase1_budget"


def accuracy_by_budget(rows: list[Row], title: str) -> Figure | None:
    """One line per pruning rate, or per number of kept tokens where that is what the grid held equal.

    Of one model, benchmark and slice; None where no method has two budgets. Methods that have no two budgets
    stand beside as horizontal lines: phase 2 alone takes all tokens.
    """
    rated = [row for row in rows if row["pruning_rate"] is not None and setting(row, BUDGET) != "native"]
    by_kind = {kind_of: _lines(rated, kind_of) for kind_of in (_rate, _kept)}
    # the kind that joins more points; of equals the first, the rate
    kind_of, lines = max(by_kind.items(), key=lambda item: sum(map(len, item[1].values())))
    if not lines:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(kind for _, kind in lines))
    colours = matplotlib.colormaps["viridis"]
    for (name, kind), line in lines.items():
        line = sorted(line, key=_budget)
        axes.errorbar(
            [_budget(row) for row in line],
            [row["accuracy"] for row in line],
            error_lengths(line),
            color=colours(0.85 * kinds.index(kind) / max(1, len(kinds) - 1)),
            marker=method_style(line[0]["method"]).marker,
            elinewidth=0.8,
            label=f"{name}, {kind}",
        )
    drawn = {line[0]["method"] for line in lines.values()}
    for row in rows:
        if row["method"] not in drawn and (row["pruning_rate"] is None or kind_of(row) in kinds):
            colour = method_style(row["method"]).colour
            axes.axhline(row["accuracy"], color=colour, linestyle="--", linewidth=1.4, label=row["point"])
    budgets = sorted({_budget(row) for line in lines.values() for row in line})
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets], fontsize=8.5)
    axes.minorticks_off()
    accuracy_axis(axes)
    axes.set_xlabel("phase 1 budget in tokens (log scale)")
    return finish(figure, [axes], title)


def _lines(rows: list[Row], kind: Callable[[Row], str]) -> dict[tuple[str, str], list[Row]]:
    """Points of two budgets or more, by method and all settings but budget and rate, and by kind."""
    lines = group(rows, lambda row: (_name(row), kind(row)))
    return {key: line for key, line in lines.items() if len({_budget(row) for row in line}) > 1}


def _name(row: Row) -> str:
    return line_name(row | {"point": line_name(row)}, without=BUDGET)


def _budget(row: Row) -> int:
    return int(setting(row, BUDGET))


def _rate(row: Row) -> str:
    return f"rate {row['pruning_rate']:g}"


def _kept(row: Row) -> str:
    return f"{round((1 - row['pruning_rate']) * _budget(row)):,} tokens kept"
