"""Rows of a run under a fault compared with the reference: each way to differ is counted."""

import pytest

from speechprune.lab.faults.faults import compare


def row(item_id: str, **changed) -> dict:
    return {
        "item_id": item_id,
        "status": "ok",
        "prediction": "A",
        "choice_probabilities": [0.75, 0.25],
        "seconds_prune": 0.1,
        "num_kept_tokens": 600,
    } | changed


REFERENCE = [row("a"), row("b"), row("c")]


def test_the_same_rows_with_other_measurements_are_the_same():
    counts = compare([row(r["item_id"], seconds_prune=9.0) for r in REFERENCE], REFERENCE)
    assert counts.pop("items") == 3
    assert counts.pop("largest_difference") == 0
    assert set(counts.values()) == {0}


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        ([row("a"), row("b")], {"items": 2, "lost": 1}),
        ([*REFERENCE, row("c")], {"duplicated": 1}),
        ([row("a"), row("b"), row("c", prediction="B")], {"different": 1}),
        ([row("a"), row("b"), row("c", status="failed", prediction=None)], {"different": 1, "failed": 1}),
        ([row("a"), row("b", choice_probabilities=[0.5, 0.5]), row("c")], {"largest_difference": 0.25}),
    ],
)
def test_what_differs_is_counted(rows, counted):
    counts = compare(rows, REFERENCE)
    no_fault = compare(REFERENCE, REFERENCE)
    assert counts == no_fault | counted
