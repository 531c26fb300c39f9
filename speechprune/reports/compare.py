"""Compare the answers of two runs or sweeps to the same questions.

speechprune compare RUN OTHER               accuracy of both, its difference, McNemar's test
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from loguru import logger
from rich.console import Console
from rich.table import Table

from speechprune.data import column_values
from speechprune.data.formats import p_value, percent
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.summary import AnswersSource
from speechprune.pipeline.terminal import printable
from speechprune.reports.answers import AnswerNotFound
from speechprune.sweep.statistics import mcnemar_p

KEY = ("benchmark", "point", "item_id")  # the first two are null but in a sweep
Key = tuple[str | None, str | None, str]


class Comparison(NamedTuple):
    """Two runs on the items that both answered and that have a gold letter."""

    benchmark: str | None
    point: str | None
    num_items: int
    num_changed: int  # items with another prediction
    accuracy: float
    other_accuracy: float
    p_value: float  # exact McNemar test


def main(arguments: Sequence[str]) -> int:
    """Print how two runs compare."""
    parser = argparse.ArgumentParser(
        prog="speechprune compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="output.path of answer or sweep; local or s3://")
    parser.add_argument("other", help="of another launch with the same questions")
    options = parser.parse_args(arguments)
    try:
        show(compare(RunStore(options.run), RunStore(options.other)))
    except (ValueError, OSError) as error:
        logger.error("{}", error)
        return 2
    return 0


def compare(run: AnswersSource, other: AnswersSource) -> list[Comparison]:
    """Compare two runs for each benchmark and point that both have.

    Raises
    ------
    ValueError
        A run holds no answers, or answers of several models, or no item was answered in both.
    """
    mine, theirs = _answers(run), _answers(other)
    groups: dict[tuple[str | None, str | None], list[Key]] = defaultdict(list)
    for key in mine.keys() & theirs.keys():
        groups[key[:2]].append(key)
    if not groups:
        raise ValueError(
            f"{run.path} and {other.path} have no answer to the same item with a gold answer in common: "
            "item_id, and of a sweep benchmark and point, must be the same"
        )
    return [
        Comparison(
            *group,
            num_items=len(keys),
            num_changed=sum(mine[key][0] != theirs[key][0] for key in keys),
            accuracy=sum(mine[key][1] for key in keys) / len(keys),
            other_accuracy=sum(theirs[key][1] for key in keys) / len(keys),
            p_value=mcnemar_p([mine[key][1] for key in keys], [theirs[key][1] for key in keys]),
        )
        for group, keys in sorted(groups.items(), key=str)
    ]


def _answers(run: AnswersSource) -> dict[Key, tuple[str, bool]]:
    """Prediction, and whether it is right, of each item with a gold letter."""
    columns = (*KEY, "model", "prediction", "correct")
    table = run.read_answers("ok", list(columns))
    if not len(table):
        raise AnswerNotFound(f"{run.path} holds no answers: is it the output.path of a run?")
    models = sorted(set(table.column("model").to_pylist()))
    if len(models) > 1:
        raise ValueError(f"{run.path} holds answers of {', '.join(models)}: compare runs of one model each")
    rows = column_values(table, columns)
    return {
        (benchmark, point, item_id): (prediction, correct)
        for benchmark, point, item_id, _, prediction, correct in rows
        if correct is not None
    }


def show(comparisons: Sequence[Comparison]) -> None:
    """Print a row for each benchmark and point."""
    names = [name for name in ("benchmark", "point") if any(getattr(c, name) for c in comparisons)]
    table = Table(*names, "items", "changed", "right, %", "other, %", "difference, points", "p (McNemar)")
    for one in comparisons:
        table.add_row(
            *(printable(getattr(one, name) or "") for name in names),
            f"{one.num_items:,}",
            f"{one.num_changed:,}",
            percent(one.accuracy),
            percent(one.other_accuracy),
            f"{100 * (one.other_accuracy - one.accuracy):+.1f}",
            p_value(one.p_value),
        )
    Console().print(table)
