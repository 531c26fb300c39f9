"""How far pruning can go before answers suffer, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from speechprune.data import Row
from speechprune.sweep.figures.rows import group
from speechprune.sweep.slices import ALL_ITEMS

# of the unpruned accuracy: what a team can lose unnoticed; on a few hundred items, one or two answers
KEPT_ACCURACY = 0.98
# of an interval: wider, and a point that loses a tenth can look like one that loses nothing
UNSURE_WIDTH = 0.10
UNPRUNED_METHOD = "none"


def recommend(points: pa.Table) -> str | None:
    """Say which point is the cheapest that keeps the accuracy, one line for every model and benchmark.

    Returns a sentence a line, named by model and benchmark where there are several; None where no point has
    an accuracy.
    """
    of_all = (row for row in points.to_pylist() if row["slice"] == ALL_ITEMS)
    rows_of = group(of_all, lambda row: (str(row["model"]), str(row["benchmark"])))
    lines = []
    for (model, benchmark), rows in rows_of.items():
        sentence = _recommend_one(rows)
        if sentence is not None:
            lines.append(f"{model}, {benchmark}: {sentence}" if len(rows_of) > 1 else sentence)
    return "\n".join(lines) or None


def is_best(row: Row) -> bool:
    """Whether a point is marked in tables: no cheaper one is as accurate, and it is better than chance.

    Chance is the commonest letter, and what the questions give away without audio; the whole 95 % interval
    must lie above both.
    """
    if not row["is_pareto"] or row["accuracy_low"] is None:
        return False
    chance = max(row["majority_letter_accuracy"], row["accuracy_without_audio"] or 0.0)
    return bool(row["accuracy_low"] > chance)


def find_unpruned(rows: Sequence[Row]) -> Row | None:
    """What the points of a slice are measured against: method ``none``, or else the most accurate point."""
    known = [row for row in rows if row["accuracy"] is not None and row["tflops_question"] is not None]
    unpruned = [row for row in known if row["method"] == UNPRUNED_METHOD]
    return min(unpruned or known, key=lambda row: (-row["accuracy"], row["tflops_question"]), default=None)


def _recommend_one(rows: Sequence[Row]) -> str | None:
    unpruned = find_unpruned(rows)
    if unpruned is None:
        return None
    if unpruned["accuracy"] == 0:
        return f"nothing to recommend: {unpruned['point']} answers no item rightly."
    best = _cheapest(rows, KEPT_ACCURACY * unpruned["accuracy"])
    is_none = unpruned["method"] == UNPRUNED_METHOD
    accuracy = "unpruned accuracy" if is_none else f"the best accuracy, {unpruned['point']}'s"
    if best["tflops_question"] >= unpruned["tflops_question"]:
        return (
            f"no cheaper point keeps {KEPT_ACCURACY:.0%} of {accuracy} ({unpruned['accuracy']:.1%})"
            f"{_doubts(unpruned, rows)}."
        )
    return (
        f"{best['point']} keeps {best['accuracy'] / unpruned['accuracy']:.0%} of {accuracy} "
        f"({best['accuracy']:.1%} against {unpruned['accuracy']:.1%}) "
        f"at {best['tflops_question'] / unpruned['tflops_question']:.0%} of a question's cost "
        f"({best['tflops_total'] / unpruned['tflops_total']:.0%} with encoding)"
        f"{_doubts(unpruned, [best, unpruned])}."
    )


def _cheapest(rows: Sequence[Row], accuracy: float) -> Row:
    """Of the points that are as accurate; of equally cheap ones the most accurate."""
    accurate = [
        row
        for row in rows
        if row["accuracy"] is not None and row["accuracy"] >= accuracy and row["tflops_question"] is not None
    ]
    return min(accurate, key=lambda row: (row["tflops_question"], -row["accuracy"]))


def _doubts(unpruned: Row, compared: Sequence[Row]) -> str:
    """What speaks against trusting a comparison: few items, or accuracy that letters alone would give."""
    doubts = ""
    known = [row for row in compared if row["accuracy"] is not None]
    if any(row["accuracy_high"] - row["accuracy_low"] > UNSURE_WIDTH for row in known):
        num_items = min(row["num_items"] for row in known)
        doubts += f"; with only {num_items:,} item{'s' if num_items > 1 else ''} that can be chance"
    if unpruned["accuracy_low"] <= unpruned["majority_letter_accuracy"]:
        doubts += f"; always the commonest letter gets {unpruned['majority_letter_accuracy']:.1%}"
    return doubts
