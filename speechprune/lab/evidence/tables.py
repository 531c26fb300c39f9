"""Results of the measurement on texts, as Markdown tables."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

Row = dict[str, Any]
RATES = (0.8, 0.6, 0.4)  # columns: 20, 40, 60 % of the tokens kept


def as_markdown(results: dict[str, Any]) -> str:
    """What is kept of the key sentence, then what is answered; one line per way of pruning."""
    ways: dict[str, dict[float | None, Row]] = defaultdict(dict)
    for row in results["rows"]:
        way = re.sub(r"pruning_rate=[\d.]+(, )?", "", row["point"]).replace(", )", ")").removesuffix("()")
        ways[way][row["settings"].get("pruning_rate")] = row
    answered = {way: rows for way, rows in ways.items() if any(row["num_answered"] for row in rows.values())}
    kept = _table(
        ["way of pruning", "AUC", *(f"{1 - rate:.0%}" for rate in RATES), "20%: against the paper's"],
        [_kept_cells(way, rows) for way, rows in ways.items() if rows.keys() == set(RATES)],
    )
    budgeted = _table(
        ["phase 1 leaves 150 tokens, 60 are kept", "key kept", "against the paper's phase 1"],
        [
            [f"`{way}`", f"{100 * row['key_kept']:.0f}", _interval(row)]
            for way, rows in ways.items()
            if (row := rows.get(0.6)) and "phase1_budget" in way
        ],
    )
    right = _table(
        ["way of pruning", *(cell for rate in RATES[:2] for cell in (f"right at {1 - rate:.0%}", "p"))],
        [_answer_cells(way, rows) for way, rows in answered.items()],
    )
    return "\n".join([*kept, "", *budgeted, "", *right])


def _table(heads: list[str], lines: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *lines]]


def _kept_cells(way: str, rows: dict[float | None, Row]) -> list[str]:
    auc = rows[RATES[0]]["auc"]
    return [
        f"`{way}`",
        "-" if auc is None else f"{auc:.2f}",
        *(f"{100 * rows[rate]['key_kept']:.0f}" for rate in RATES),
        _interval(rows[RATES[0]]),
    ]


def _interval(row: Row) -> str:
    """95 % interval of the paired difference, in points."""
    if "key_kept_difference" not in row:
        return "-"
    low, high = row["key_kept_difference"]
    return f"{100 * low:+.0f} to {100 * high:+.0f}"


def _answer_cells(way: str, rows: dict[float | None, Row]) -> list[str]:
    cells = [f"`{way}`"]
    for rate in RATES[:2]:
        row = rows.get(rate) or rows.get(None) or {}
        accuracy, p_value = row.get("accuracy"), row.get("p_value")
        cells.append("-" if accuracy is None else f"{100 * accuracy:.1f}")
        cells.append("-" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}")
    return cells
