"""Accuracy against the pruning rate (the paper's Fig. 3) and against what a question costs."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechprune.data import Row
from speechprune.sweep.figures.rows import error_lengths, first_value, group, lines_over_rates
from speechprune.sweep.figures.style import (
    AUDIO_BASELINE,
    GRAY,
    LETTER_BASELINE,
    accuracy_axis,
    finish,
    line_styles,
    log_axis,
    method_style,
    new_figure,
)

# methods without a rate: what a reader may not know of them, and their dashes
HORIZONTAL_LINES: dict[str, tuple[str, str | tuple[int, tuple[int, int]]]] = {
    "none": (", all tokens", "--"),
    "truncate": (", the beginning alone", (0, (8, 3))),
}


def accuracy_by_rate(rows: list[Row], title: str) -> Figure | None:
    """One line per method and setting, with its 95 % intervals; without a rate, a horizontal line.

    Of one model, benchmark and slice; None where no method has two rates.
    """
    lines = lines_over_rates(rows)
    if not any(len({row["pruning_rate"] for row in line}) > 1 for line in lines.values()):
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    styles = line_styles({name: line[0]["method"] for name, line in lines.items()})
    for name, line in lines.items():
        colour, marker = method_style(line[0]["method"])
        rates = [row["pruning_rate"] for row in line]
        axes.plot(
            rates,
            [row["accuracy"] for row in line],
            color=colour,
            marker=marker,
            linestyle=styles[name],
            label=name,
            zorder=3,
        )
        low, high = ([row[f"accuracy_{end}"] for row in line] for end in ("low", "high"))
        if len(line) > 1:
            axes.fill_between(rates, low, high, color=colour, alpha=0.13, linewidth=0)
        else:
            axes.vlines(rates, low, high, color=colour, linewidth=1.0)
    for row in rows:
        if row["pruning_rate"] is None:
            explanation, dashes = HORIZONTAL_LINES.get(row["method"], ("", "--"))
            colour = method_style(row["method"]).colour
            _horizontal(axes, row["accuracy"], row["point"] + explanation, colour, dashes)
    _horizontal(axes, first_value(rows, "accuracy_without_audio"), AUDIO_BASELINE, GRAY, "-.")
    _horizontal(axes, first_value(rows, "majority_letter_accuracy"), LETTER_BASELINE, GRAY, ":")
    accuracy_axis(axes)
    axes.set_xlabel("pruning rate (bands and bars: 95 % intervals)")
    return finish(figure, [axes], title)


def _horizontal(
    axes: Axes, accuracy: float | None, label: str, colour: str, style: str | tuple[int, tuple[int, int]]
) -> None:
    if accuracy is not None:
        axes.axhline(accuracy, color=colour, linestyle=style, linewidth=1.4, label=label, zorder=2)


def accuracy_by_cost(rows: list[Row], title: str) -> Figure | None:
    """One marker per point, labelled by its rate; the Pareto-best ones joined by steps."""
    rows = [row for row in rows if row["tflops_question"]]
    if len(rows) < 2:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    front = sorted((row for row in rows if row["is_pareto"]), key=lambda row: row["tflops_question"])
    axes.plot(
        [row["tflops_question"] for row in front],
        [row["accuracy"] for row in front],
        color=GRAY,
        drawstyle="steps-post",
        linewidth=1.2,
        label="Pareto front",
    )
    by_method = group(rows, lambda row: str(row["method"]))
    for number, (method, points) in enumerate(by_method.items()):
        colour, marker = method_style(method)
        xs, ys = ([row[name] for row in points] for name in ("tflops_question", "accuracy"))
        axes.errorbar(xs, ys, error_lengths(points), fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.45)
        axes.plot(xs, ys, color=colour, marker=marker, linestyle="none", markersize=7, label=method)
        for row in points:
            if row["pruning_rate"] is not None:
                axes.annotate(
                    f"{row['pruning_rate']:g}",
                    (row["tflops_question"], row["accuracy"]),
                    xytext=(-7 if number % 2 else 7, 0),  # methods of equal cost stand above each other
                    textcoords="offset points",
                    ha="right" if number % 2 else "left",
                    va="center",
                    fontsize=7.5,
                    color=colour,
                )
    log_axis(axes)
    accuracy_axis(axes)
    axes.set_xlabel("TFLOPs of one more question, log scale (bars: 95 % intervals; numbers: pruning rates)")
    return finish(figure, [axes], title)
