"""Which items are in which slice."""

import pyarrow as pa
import pytest

from speechprune.sweep.points import points_table
from speechprune.sweep.slices import check_slices
from tests.helpers.answer_rows import answer, answers, failure, grid

ONE = grid({"method": "none"})


def counts(rows: list[dict], *slices: str, **carried: pa.DataType) -> dict[str, int]:
    """Items of every slice but ``all``, in the table's order."""
    table = points_table(answers(rows, **carried), ONE, slices=slices)
    found = {row["slice"]: row["num_items"] + row["num_failed"] for row in table.to_pylist()}
    assert found.pop("all") == len(rows)
    return found


def test_position_is_the_quarter_in_which_the_answer_begins():
    starts = [0.0, 22.4, 22.5, 44.9, 45.0, 67.5, 89.9]
    rows = [answer(str(i), "none", True, evidence_start=start) for i, start in enumerate(starts)]
    assert counts(rows, "position", evidence_start=pa.float64()) == {
        "position: first quarter": 2,
        "position: second quarter": 2,
        "position: third quarter": 1,
        "position: last quarter": 2,
    }


def test_position_is_within_the_slice_of_the_recording_that_was_asked_about():
    """Of a recording's seconds 600 to 690: 605 is in the first quarter, 30 and 700 are outside."""
    rows = [
        answer(str(i), "none", True, start=600.0, evidence_start=told)
        for i, told in enumerate((605.0, 30.0, 700.0))
    ]
    assert counts(rows, "position", evidence_start=pa.float64()) == {"position: first quarter": 1}


def test_lengths_are_classes_that_speak_to_people():
    lengths = [12.0, 30.0, 30.1, 90.0, 120.0, 300.0, 900.0, 1800.0, 3600.0]
    rows = [answer(str(i), "none", True, audio_seconds=seconds) for i, seconds in enumerate(lengths)]
    assert counts(rows, "length") == {
        "length: up to 30 s": 2,
        "length: 30 s to 1 min": 1,
        "length: 1 to 2 min": 2,
        "length: 2 to 10 min": 1,
        "length: 10 to 30 min": 2,
        "length: over 30 min": 1,
    }
    assert counts(rows[:1], "length") == {"length: up to 30 s": 1}


def test_what_is_not_known_of_an_item_puts_it_in_no_slice():
    rows = [
        answer("0", "none", True, scenario="call", evidence_start=1.0),
        answer("1", "none", True),
        failure("2", "none", scenario="call", evidence_start=1.0),  # never decoded: no length
    ]
    kinds = {"scenario": pa.string(), "evidence_start": pa.float64()}
    assert counts(rows, "length", "scenario", "position", **kinds) == {
        "length: 1 to 2 min": 2,
        "scenario: call": 2,
        "position: first quarter": 1,
    }


def test_an_item_that_failed_for_one_point_has_the_length_that_another_saw():
    points = grid({"method": ["none", "truncate"]})
    rows = [failure("0", "none"), answer("0", "truncate", True)]
    for order in (rows, rows[::-1]):
        table = points_table(answers(order), points, slices=["length"])
        lengths = [row for row in table.to_pylist() if row["slice"] == "length: 1 to 2 min"]
        assert [(row["point"], row["num_items"], row["num_failed"]) for row in lengths] == [
            ("none", 0, 1),
            ("truncate", 1, 0),
        ]


@pytest.mark.parametrize(
    ("kind", "values", "ordered"),
    [
        (pa.string(), ["noise 10 dB", "clean", "noise 5 dB"], ["clean", "noise 5 dB", "noise 10 dB"]),
        (pa.int64(), [10, 9, 100], ["9", "10", "100"]),
        (pa.float64(), [5.0, -5.0, 20.5], ["-5.0", "5.0", "20.5"]),
        (pa.bool_(), [True, False, True], ["False", "True"]),
        (pa.dictionary(pa.int32(), pa.string()), ["b", "a", "b"], ["a", "b"]),
    ],
)
def test_values_of_any_column_in_natural_order(kind, values, ordered):
    rows = [answer(str(i), "none", True, noise=value) for i, value in enumerate(values)]
    assert list(counts(rows, "noise", noise=kind)) == [f"noise: {value}" for value in ordered]


@pytest.mark.parametrize(
    ("slices", "sentence"),
    [
        (
            ["scenarios"],
            "no column scenarios in the manifest; valid here: position, length, item_id, scenario",
        ),
        (["position"], "position needs column evidence_start in the manifest; valid here: "),
        (["topic"], "column topic is empty in every row"),
        (["voices"], "column voices holds lists"),
    ],
)
def test_slices_that_a_manifest_cannot_give_are_refused(slices, sentence):
    manifest = pa.table(
        {
            "item_id": ["1"],
            "scenario": ["call"],
            "topic": pa.nulls(1, pa.string()),
            "voices": pa.array([["a"]]),
        }
    )
    with pytest.raises(ValueError, match=f"slices: .*{sentence}"):
        check_slices(manifest, slices)
    check_slices(manifest, ["scenario", "length"])


def test_what_depends_on_the_point_is_no_slice():
    with pytest.raises(ValueError, match="no column prediction"):
        points_table(answers([answer("0", "none", True)]), ONE, slices=["prediction"])
