"""Where an answer's time goes: encoding, pruning, prefill, generation."""

from __future__ import annotations

from matplotlib.figure import Figure

from speechprune.data import Row
from speechprune.sweep.figures.rows import group
from speechprune.sweep.figures.style import finish, new_figure

# of the same palette as the methods, but for stages: bars, so hatched too
STAGES = (
    ("seconds_encode", "encode (its share)", "#BBBBBB", ""),
    ("seconds_prune", "prune", "#D55E00", ""),
    ("seconds_prefill", "prefill", "#56B4E9", "//"),
    ("seconds_generate", "generate", "#0072B2", ".."),
)
BAR_INCHES = 0.24


def seconds_by_stage(rows: list[Row], benchmarks: list[str], title: str) -> Figure | None:
    """One bar per point, one panel per benchmark; numbers are pruning's share of the time without encoding.

    ``benchmarks``: in the order of the panels, each with its own scale: recordings may differ in length.
    """
    rows = [row for row in rows if row["seconds_prefill"] is not None]
    if not rows:
        return None
    panels = group(rows, lambda row: str(row["benchmark"]))
    panels = {benchmark: panels[benchmark] for benchmark in benchmarks if benchmark in panels}
    num_bars = sum(map(len, panels.values()))
    figure = new_figure(0.8 + 0.75 * len(panels) + BAR_INCHES * num_bars)
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[len(points) + 2 for points in panels.values()])
    drawn = []
    for number, (benchmark, points) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[number])
        drawn.append(axes)
        ends = [0.0] * len(points)
        for column, label, colour, hatch in STAGES:
            widths = [row[column] or 0.0 for row in points]
            if any(widths):
                axes.barh(
                    range(len(points)),
                    widths,
                    left=ends,
                    height=0.75,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white",
                    linewidth=0,
                    label=label,
                )
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        for place, (row, end) in enumerate(zip(points, ends, strict=True)):
            if row["prune_share"] is not None:
                axes.annotate(
                    f"{row['prune_share']:.1%}",
                    (end, place),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                )
        axes.set_yticks(range(len(points)), [row["point"] for row in points], fontsize=8)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, max(ends) * 1.12 or 1)
        axes.set_xlabel("seconds an answer")
        if len(panels) > 1:
            axes.set_title(benchmark, fontsize=9.5, loc="left")
    return finish(figure, drawn, title)
