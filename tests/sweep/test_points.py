"""What points are worth, from answers counted by hand."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from speechprune.sweep.points import points_table
from speechprune.sweep.schema import POINTS_SCHEMA
from speechprune.sweep.statistics import wilson_interval
from tests.helpers.answer_rows import answer, answers, failure, grid, right_of

PRUNED = "speechprune(pruning_rate=0.4)"
TWO = grid({"method": "none"}, {"method": "speechprune", "pruning_rate": 0.4})
RANDOM = grid({"method": "random", "pruning_rate": 0.4, "seed": [0, 1, 2]})
SEEDS = [point.name for point in RANDOM]
HARD = grid({"method": "truncate"}, {"method": "speechprune", "pruning_rate": 0.4})


def rows_of(table: pa.Table, point: str, slice_name: str = "all") -> dict:
    rows = [row for row in table.to_pylist() if (row["point"], row["slice"]) == (point, slice_name)]
    assert len(rows) == 1
    return rows[0]


def slice_names(table: pa.Table) -> list[str]:
    return list(dict.fromkeys(table.column("slice").to_pylist()))


def test_a_row_says_which_answers_it_is_about():
    table = points_table(answers(right_of("none", "++-") + right_of(PRUNED, "+--")), TWO)
    assert table.schema.equals(POINTS_SCHEMA, check_metadata=True)
    keys = table.select(["model", "benchmark", "slice", "point", "method", "pruning_rate", "num_seeds"])
    assert keys.to_pylist() == [
        dict(zip(keys.column_names, values, strict=True))
        for values in (
            ("m", "b", "all", "none", "none", None, 1),
            ("m", "b", "all", PRUNED, "speechprune", 0.4, 1),
        )
    ]
    own = json.loads(rows_of(table, PRUNED)["settings"])
    assert next(iter(own)) == "method"
    assert own["allocation"] == "fill"


def test_accuracy_with_its_interval_and_baselines():
    """Three of four right; gold A, A, B, B: always the commonest letter gets half."""
    rows = [
        answer(str(i), "none", i != 2, answer=gold, correct_permuted=i > 0, correct_without_audio=i == 3)
        for i, gold in enumerate("AABB")
    ]
    row = rows_of(points_table(answers(rows), TWO), "none")
    assert (row["num_items"], row["num_failed"], row["accuracy"]) == (4, 0, 0.75)
    assert (row["accuracy_low"], row["accuracy_high"]) == wilson_interval(3, 4)
    assert (row["accuracy_lowest_seed"], row["accuracy_highest_seed"]) == (0.75, 0.75)
    assert row["majority_letter_accuracy"] == 0.5
    assert (row["accuracy_permuted"], row["accuracy_without_audio"]) == (0.75, 0.25)
    assert row["evidence_recall"] is None


def test_costs_are_means_of_the_answers():
    rows = [
        answer("0", "none", True, evidence_recall=1.0, tflops_encode=2.0, tflops_total=13.0),
        answer(
            "1",
            "none",
            False,
            evidence_recall=None,
            tflops_encode=4.0,
            tflops_total=17.0,
            peak_memory_bytes=7,
        ),
    ]
    row = rows_of(points_table(answers(rows), TWO), "none")
    assert row["evidence_recall"] == 1.0
    assert (row["tflops_encode"], row["tflops_question"], row["tflops_total"]) == (3.0, 12.0, 15.0)
    assert (row["num_audio_tokens"], row["num_kept_tokens"], row["num_text_tokens"]) == (2000, 600, 107)
    assert (row["memory_bytes"], row["activation_bytes"]) == (13.4e9, 0.15e9)
    assert row["prune_share"] == 0.25
    assert row["peak_memory_bytes"] == 5_000_000


def test_failed_and_missing_items_are_counted_and_left_out():
    """Item 2 failed, 3 has no row, 4 no gold letter."""
    rows = right_of("none", "+-f ?+") + right_of(PRUNED, "++++++")
    table = points_table(answers(rows), TWO)
    row = rows_of(table, "none")
    assert (row["num_items"], row["num_failed"]) == (3, 2)
    assert row["accuracy"] == pytest.approx(2 / 3)
    assert rows_of(table, PRUNED)["num_items"] == 6


def test_an_item_that_failed_before_it_was_answered_is_answered():
    rows = [failure("0", "none"), answer("0", "none", True), answer("1", "none", False)]
    for order in itertools.permutations(rows):
        row = rows_of(points_table(answers(order), TWO), "none")
        assert (row["num_items"], row["num_failed"], row["accuracy"]) == (2, 0, 0.5)


def test_a_point_without_answers_has_a_row_without_numbers():
    table = points_table(
        answers(right_of("none", "+-") + right_of(PRUNED, "ff")), TWO, reference={"method": "none"}
    )
    row = rows_of(table, PRUNED)
    assert (row["num_items"], row["num_failed"], row["reference"]) == (0, 2, "none")
    assert {row[name] for name in ("accuracy", "accuracy_low", "p_value", "tflops_total", "is_pareto")} == {
        None
    }
    assert rows_of(table, "none")["is_pareto"]


def test_seeds_are_one_row():
    """Items that every seed answered: 0, 1, 2. Right there: 3, 1 and 2 of 3."""
    rows = right_of(SEEDS[0], "+++-") + right_of(SEEDS[1], "+--+") + right_of(SEEDS[2], "++-f")
    table = points_table(answers(rows), RANDOM)
    assert len(table) == 1
    row = rows_of(table, "random(pruning_rate=0.4)")
    assert (row["num_seeds"], row["num_items"], row["num_failed"]) == (3, 3, 1)
    assert row["accuracy"] == pytest.approx(6 / 9)
    assert (row["accuracy_low"], row["accuracy_high"]) == wilson_interval(2, 3)
    assert (row["accuracy_lowest_seed"], row["accuracy_highest_seed"]) == pytest.approx((1 / 3, 1))
    assert "seed" not in json.loads(row["settings"])


def test_of_several_seeds_the_least_sure_test_is_told():
    """Against none, all right: seed 0 loses 6 items, seed 1 loses 1, seed 2 loses 2: p = 1 for seed 1."""
    points = [*TWO, *RANDOM]
    rows = right_of("none", "+" * 8) + right_of(PRUNED, "------++")
    rows += right_of(SEEDS[0], "------++") + right_of(SEEDS[1], "-+++++++") + right_of(SEEDS[2], "--++++++")
    table = points_table(answers(rows), points, reference={"method": "none"})
    row = rows_of(table, "random(pruning_rate=0.4)")
    assert (row["reference"], row["p_value"]) == ("none", 1.0)
    assert row["difference"] == pytest.approx(-9 / 24)
    assert rows_of(table, PRUNED)["p_value"] == pytest.approx(2 / 2**6)
    assert rows_of(table, "none")["reference"] is None
    turned = rows_of(points_table(answers(rows), points, reference={"method": "random"}), PRUNED)
    assert turned["difference"] == pytest.approx(2 / 8 - 15 / 24)
    assert turned["p_value"] == 1.0  # against seed 0, which got the same items right


def test_a_test_is_on_the_items_of_both():
    rows = right_of("none", "f+++-") + right_of(PRUNED, "+-f-+")
    row = rows_of(points_table(answers(rows), TWO, reference={"method": "none"}), PRUNED)
    assert row["difference"] == pytest.approx(1 / 3 - 2 / 3)
    assert row["p_value"] == 1.0


def test_hard_items_are_those_that_the_beginning_does_not_answer():
    table = points_table(answers(right_of("truncate", "+--f?") + right_of(PRUNED, "-+-++")), HARD)
    assert slice_names(table) == ["all", "hard"]
    assert rows_of(table, "truncate", "hard")["accuracy"] == 0
    row = rows_of(table, PRUNED, "hard")
    assert (row["num_items"], row["accuracy"]) == (2, 0.5)


def test_without_hard_items_or_without_truncate_there_is_no_such_slice():
    all_right = right_of("truncate", "++") + right_of(PRUNED, "-+")
    assert slice_names(points_table(answers(all_right), HARD)) == ["all"]
    other_budget = grid({"method": "truncate", "phase1_budget": 75})
    rows = right_of("truncate(phase1_budget=75)", "--")
    assert slice_names(points_table(answers(rows), other_budget)) == ["all"]


def test_hard_items_are_each_models_and_benchmarks_own():
    rows = (
        right_of("truncate", "+-")
        + right_of("truncate", "-+", model="l")
        + right_of("truncate", "++", benchmark="a")
    )
    table = points_table(answers(rows), HARD[:1])
    seen = [(row["model"], row["benchmark"], row["slice"]) for row in table.to_pylist()]
    assert seen == [
        ("l", "b", "all"),
        ("l", "b", "hard"),
        ("m", "a", "all"),
        ("m", "b", "all"),
        ("m", "b", "hard"),
    ]


def test_the_pareto_points_are_those_that_nothing_beats():
    """none costs 20 for 3 right; rate 0.2 as much for less; 0.4 costs 10 for 2, 0.6 as much for as much."""
    points = grid({"method": "none"}, {"method": "speechprune", "pruning_rate": [0.2, 0.4, 0.6, 0.8]})
    cases = [("+++-", 20.0), ("++--", 20.0), ("++--", 10.0), ("-++-", 10.0 + 1e-12), ("+++-", 30.0)]
    rows = [
        row
        for point, (letters, cost) in zip(points, cases, strict=True)
        for row in right_of(point.name, letters, tflops_encode=2.0, tflops_total=2.0 + cost)
    ]
    table = points_table(answers(rows), points)
    assert table.column("is_pareto").to_pylist() == [True, False, True, True, False]


def test_answers_of_points_outside_of_the_grid_are_left_out():
    rows = right_of("none", "+-") + right_of("second_phase(pruning_rate=0.2)", "++++")
    table = points_table(answers(rows), TWO)
    assert table.column("point").to_pylist() == ["none", PRUNED]
    assert rows_of(table, "none")["num_failed"] == 0


def test_columns_that_answers_lack_are_null():
    """As in answers of an older version, or of a job that measures less."""
    whole = answers(right_of("none", "+-", correct_permuted=True))
    table = whole.drop_columns(["correct_permuted", "evidence_recall", "peak_memory_bytes", "seconds_prune"])
    row = rows_of(points_table(table, TWO), "none")
    missing = ("accuracy_permuted", "evidence_recall", "peak_memory_bytes", "seconds_prune", "prune_share")
    assert {row[name] for name in missing} == {None}
    assert row["accuracy"] == 0.5


def test_sums_do_not_depend_on_the_order_of_rows():
    """Numbers whose sum depends on the order: one row's bits would differ."""
    random = np.random.default_rng(0)
    rows = [
        answer(str(i), point.name, bool(i % 2), tflops_total=float(value), seconds_prune=float(value))
        for point in TWO
        for i, value in enumerate(10 ** random.uniform(-8, 8, 1000))
    ]
    table = points_table(answers(rows), TWO)
    for _ in range(3):
        shuffled = [rows[i] for i in random.permutation(len(rows))]
        files = [answers(shuffled[:700]), answers(shuffled[700:])]
        assert points_table(pa.concat_tables(files), TWO).equals(table)
