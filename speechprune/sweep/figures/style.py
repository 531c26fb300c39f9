"""How every figure looks: one colour and marker per method, distinct whatever colours a reader can see."""

from __future__ import annotations

import io
import textwrap
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

WIDTH_INCHES = 8.0
PIXELS_PER_INCH = 150  # 1200 pixels wide
MAX_TITLE_CHARACTERS = 80  # as many as the width holds
GRAY = "#666666"
AUDIO_BASELINE = "no audio"
LETTER_BASELINE = "commonest letter"
LINE_STYLES = ("-", "--", ":", "-.")  # of one method's settings

SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "speechprune",  # the same points give the same bytes
}


class MethodStyle(NamedTuple):
    """Of all lines, points and bars of a method."""

    colour: str
    marker: str


# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/) without its yellow, which is faint on white
METHOD_STYLES = {
    "speechprune": MethodStyle("#0072B2", "o"),
    "first_phase": MethodStyle("#56B4E9", "^"),
    "second_phase": MethodStyle("#009E73", "v"),
    "random": MethodStyle("#E69F00", "s"),
    "random_crop": MethodStyle("#CC79A7", "D"),
    "late_interaction": MethodStyle("#D55E00", "P"),
    "truncate": MethodStyle("#888888", "X"),
    "none": MethodStyle("#000000", "*"),
}
_OTHER_STYLES = (MethodStyle("#882255", "<"), MethodStyle("#999933", ">"), MethodStyle("#332288", "h"))


def method_style(method: str) -> MethodStyle:
    """Of a method by name; one without its own gets one of three that stays the same in all figures."""
    other = _OTHER_STYLES[zlib.crc32(method.encode()) % len(_OTHER_STYLES)]
    return METHOD_STYLES.get(method, other)


def line_styles(methods: Mapping[str, str]) -> dict[str, str]:
    """Of lines by name, given each one's method: those of one method differ."""
    seen: Counter[str] = Counter()
    styles = {}
    for name, method in methods.items():
        styles[name] = LINE_STYLES[seen[method] % len(LINE_STYLES)]
        seen[method] += 1
    return styles


def new_figure(height_inches: float = 4.6) -> Figure:
    """An empty figure, tied to no window and no global state."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), dpi=PIXELS_PER_INCH, layout="constrained")


def accuracy_axis(axes: Axes) -> None:
    """From 0 to 100 % always, so that no difference looks larger than it is."""
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("accuracy")


def log_axis(axes: Axes) -> None:
    """Of costs: plain numbers at 1, 2, 3 and 5 times the powers of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


def set_title(figure: Figure, title: str) -> None:
    """Left, as text is read, on as many lines as it takes."""
    text = textwrap.fill(title, MAX_TITLE_CHARACTERS)
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def finish(figure: Figure, axes: Sequence[Axes], title: str) -> Figure:
    """Add the title, and one legend of all panels to the right of them."""
    set_title(figure, title)
    entries: dict[str, Artist] = {}  # a label that several panels have is listed once
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="outside right center", fontsize=8.5)
    return figure


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as ``png`` and ``svg``; the same bytes for the same figure."""
    files = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        with matplotlib.rc_context(SETTINGS):
            figure.savefig(buffer, format=kind, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files
