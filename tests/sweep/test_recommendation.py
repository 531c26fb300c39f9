"""The sentence that ends a sweep."""

from typing import Any

import pyarrow as pa
import pytest

from speechprune.sweep.recommendation import recommend
from speechprune.sweep.schema import POINTS_SCHEMA


def row(point: str, accuracy: float | None, tflops: float | None, **columns: Any) -> dict[str, Any]:
    known = {} if accuracy is None else {"accuracy_low": accuracy - 0.04, "accuracy_high": accuracy + 0.04}
    return (
        dict.fromkeys(POINTS_SCHEMA.names)
        | {
            "model": "m",
            "benchmark": "b",
            "slice": "all",
            "num_items": 1000,
            "majority_letter_accuracy": 0.27,
        }
        | {"point": point, "method": point.split("(")[0], "accuracy": accuracy, "tflops_question": tflops}
        | {"tflops_total": None if tflops is None else tflops + 10}
        | known
        | columns
    )


def recommended(*rows: dict[str, Any]) -> str | None:
    return recommend(pa.Table.from_pylist(list(rows), schema=POINTS_SCHEMA))


UNPRUNED = row("none", 0.9, 20.0)


def test_the_cheapest_point_that_keeps_the_accuracy():
    """98 % of 0.9 are 0.882."""
    rows = [
        UNPRUNED,
        row("speechprune(pruning_rate=0.2)", 0.93, 8.0),
        row("speechprune(pruning_rate=0.4)", 0.918, 6.2),
        row("speechprune(pruning_rate=0.6)", 0.881, 4.0),
        row("speechprune(pruning_rate=0.6)", 0.99, 1.0, slice="hard"),
    ]
    assert recommended(*rows) == (
        "speechprune(pruning_rate=0.4) keeps 102% of unpruned accuracy (91.8% against 90.0%) "
        "at 31% of a question's cost (54% with encoding)."
    )


def test_of_equally_cheap_points_the_more_accurate():
    sentence = recommended(UNPRUNED, row("random", 0.89, 5.0), row("random_crop", 0.91, 5.0))
    assert sentence.startswith("random_crop keeps 101% ")


def test_nothing_cheaper_keeps_it():
    sentence = recommended(UNPRUNED, row("random", 0.6, 5.0), row("speechprune", 0.95, 21.0))
    assert sentence == "no cheaper point keeps 98% of unpruned accuracy (90.0%)."
    assert recommended(UNPRUNED) == sentence


def test_without_an_unpruned_point_the_best_takes_its_place():
    sentence = recommended(
        row("truncate", 0.6, 8.0), row("speechprune", 0.91, 8.0), row("first_phase", 0.9, 6.0)
    )
    assert sentence == (
        "first_phase keeps 99% of the best accuracy, speechprune's (90.0% against 91.0%) "
        "at 75% of a question's cost (89% with encoding)."
    )


def test_few_items_can_be_chance():
    wide = {"accuracy_low": 0.83, "accuracy_high": 0.94, "num_items": 80}
    assert recommended(UNPRUNED, row("speechprune", 0.9, 8.0, **wide)).endswith(
        "(60% with encoding); with only 80 items that can be chance."
    )
    assert recommended(row("none", 0.9, 20.0, **wide), row("random", None, None)).endswith(
        "unpruned accuracy (90.0%); with only 80 items that can be chance."
    )


def test_accuracy_that_needs_no_listening_is_told():
    letters = {"majority_letter_accuracy": 0.87}
    sentence = recommended(row("none", 0.9, 20.0, **letters), row("speechprune", 0.9, 8.0, **letters))
    assert sentence.endswith("with encoding); always the commonest letter gets 87.0%.")


def test_a_model_that_knows_nothing():
    assert recommended(row("none", 0.0, 20.0), row("random", 0.0, 5.0)) == (
        "nothing to recommend: none answers no item rightly."
    )


def test_a_sentence_for_every_model_and_benchmark():
    rows = [UNPRUNED, row("random", 0.9, 5.0)]
    other = [r | {"benchmark": "c"} for r in rows] + [r | {"model": "n"} for r in rows[:1]]
    lines = recommended(*rows, *other).split("\n")
    assert [line.split(": ")[0] for line in lines] == ["m, b", "m, c", "n, b"]


@pytest.mark.parametrize("rows", [[], [row("none", None, None), row("random", None, None)]])
def test_without_any_accuracy_there_is_nothing_to_say(rows):
    assert recommended(*rows) is None
