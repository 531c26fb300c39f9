"""The tables that end a sweep on the terminal: accuracy beside cost, for every point."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from speechprune.data import Row, column_values
from speechprune.data.formats import counted
from speechprune.sweep.recommendation import find_unpruned, is_best
from speechprune.sweep.slices import ALL_ITEMS, HARD_ITEMS

BEST_MARK = "*"
WIDTH = 110  # characters that the tables of all grids fit into
LEGEND = (
    f"{BEST_MARK} beats chance and all that costs less; kept: audio tokens in prompt; p: exact McNemar test\n"
    "paper: prefill, as the paper counts it; asked: all that one more question costs; %: of unpruned, or of\n"
    "the most accurate point where the grid has no unpruned one"
)


def show_sweep(points: pa.Table, console: Console | None = None) -> None:
    """Print a table for every model and benchmark of the points, in a log as wide as they are."""
    if console is None:
        console = Console()
        if not console.is_terminal:  # a log: as wide as the tables are
            console = Console(width=WIDTH)
    for model, benchmark in dict.fromkeys(column_values(points, ("model", "benchmark"))):
        console.print(sweep_table(points, model, benchmark))
    console.print(LEGEND, style="dim")


def sweep_table(points: pa.Table, model: str, benchmark: str) -> Group:
    """The points of one model and benchmark over all items; columns that nothing was asked for are left out.

    Shares are in percent; costs are means an answer, see ``LEGEND``.
    """
    own = [row for row in points.to_pylist() if (row["model"], row["benchmark"]) == (model, benchmark)]
    rows = [row for row in own if row["slice"] == ALL_ITEMS]
    hard = {row["point"]: row for row in own if row["slice"] == HARD_ITEMS}
    unpruned = find_unpruned(rows)
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("\nrate", lambda row: _number(row["pruning_rate"], "g")),
        ("accuracy\n(95 %)", _accuracy),
        ("hard\nitems", lambda row: _percent(hard.get(row["point"], {}).get("accuracy"))),
        ("per-\nmuted", lambda row: _percent(row["accuracy_permuted"])),
        ("\nkept", lambda row: _number(row["num_kept_tokens"], ",.0f")),
        ("TFLOPs\npaper", lambda row: _number(row["tflops_prefill"], ".4g")),
        ("TFLOPs\nasked", lambda row: _number(row["tflops_question"], ".4g")),
        ("\n%", lambda row: _share(row, unpruned)),
        ("ms\nprune", lambda row: _milliseconds(row["seconds_prune"])),
        ("ms\nprefill", lambda row: _milliseconds(row["seconds_prefill"])),
        ("difference\nand p", _difference),
    ]
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("\npoint", overflow="fold")
    shown = [(name, cell) for name, cell in columns if any(cell(row) for row in rows)]
    for name, _ in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        mark = BEST_MARK if is_best(row) else ""
        table.add_row(mark, Text(_without_rate(row["point"])), *(cell(row) for _, cell in shown))
    return Group(_heading(rows, model, benchmark), table, *_reference(rows))


def _heading(rows: Sequence[Row], model: str, benchmark: str) -> Text:
    """Model, benchmark, and what scores without listening, of the point with most answers."""
    row = max(rows, key=lambda row: row["num_items"])
    parts = [counted(row["num_items"], "item")]
    if row["majority_letter_accuracy"] is not None:
        parts.append(f"always the commonest letter {row['majority_letter_accuracy']:.1%}")
    if row["accuracy_without_audio"] is not None:
        parts.append(f"without audio {row['accuracy_without_audio']:.1%}")
    num_failed = max(row["num_failed"] for row in rows)
    if num_failed:
        parts.append(f"up to {num_failed:,} failed")
    return Text(f"{model}, {benchmark}: {', '.join(parts)}", style="bold")


def _reference(rows: Sequence[Row]) -> list[Text]:
    names = list(dict.fromkeys(row["reference"] for row in rows if row["reference"] is not None))
    if len(names) > 1:  # each of another rate
        methods = dict.fromkeys(row["method"] for row in rows if row["point"] in names)
        names = [f"{' or '.join(methods)} at the same rate"]
    return [Text(f"difference to {name}, in points", style="dim") for name in names]


def _without_rate(point: str) -> str:
    """The name of a point: method, and each further setting on a line of its own."""
    method, _, settings = point.rstrip(")").partition("(")
    others = [setting for setting in settings.split(", ") if not setting.startswith("pruning_rate=")]
    return "\n ".join([method, *filter(None, others)])


def _accuracy(row: Row) -> str:
    if row["accuracy"] is None:
        return ""
    low, high = (f"{100 * row[name]:.0f}" for name in ("accuracy_low", "accuracy_high"))
    return f"{_percent(row['accuracy'])} ({low}-{high})"


def _difference(row: Row) -> str:
    if row["p_value"] is None:
        return ""
    p = "p<0.001" if row["p_value"] < 0.001 else f"p={row['p_value']:.3f}"
    return f"{100 * row['difference']:+.1f} {p}"


def _share(row: Row, unpruned: Row | None) -> str:
    if unpruned is None or row["tflops_question"] is None:
        return ""
    return f"{100 * row['tflops_question'] / unpruned['tflops_question']:.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:,.3g}" if seconds < 0.1 else f"{1000 * seconds:,.0f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
