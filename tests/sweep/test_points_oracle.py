"""What points are worth, by plain loops over random answers."""

import itertools
from collections import Counter
from statistics import fmean

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.sweep.points import points_table
from speechprune.sweep.statistics import mcnemar_p
from tests.helpers.answer_rows import answer, answers, failure, grid

GRID = grid(
    {"method": ["none", "truncate"]},
    {"method": "speechprune", "pruning_rate": [0.2, 0.4]},
    {"method": "random", "pruning_rate": [0.2, 0.4], "seed": [0, 1]},
)
COST_OF = {"none": 20.0, "truncate": 7.5, "speechprune": 9.0, "random": 8.0}


@st.composite
def sweeps(draw) -> list[dict]:
    """Answers of two models to up to 12 items; some failed, some were never asked, some have no gold."""
    rows = []
    for model in draw(st.sampled_from([["m"], ["n", "m"]])):
        for number in range(draw(st.integers(1, 12))):
            gold = draw(st.sampled_from([*"AABC", None]))
            of_item = {
                "answer": gold,
                "scenario": draw(st.sampled_from(["call", "meeting", None])),
                "model": model,
            }
            for point in GRID:
                outcome = draw(st.sampled_from(["right", "right", "wrong", "wrong", "failed", "none"]))
                if outcome == "failed":
                    rows.append(failure(str(number), point.name, **of_item))
                elif outcome != "none":
                    correct = None if gold is None else outcome == "right"
                    cost = 2.0 + COST_OF[point.method.name] + number / 1024  # sums are exact
                    rows.append(answer(str(number), point.name, correct, tflops_total=cost, **of_item))
    return rows


def expected_rows(rows: list[dict]) -> list[dict]:
    """The same by loops over rows: for each slice and group, counts, accuracy, test, Pareto."""
    found = []
    for model in sorted({row["model"] for row in rows}):
        own = [row for row in rows if row["model"] == model]
        scenarios = sorted({row["scenario"] for row in own} - {None})
        wrong = {row["item_id"] for row in own if row["point"] == "truncate" and row.get("correct") is False}
        slices = {"all": {row["item_id"] for row in own}, "hard": wrong}
        slices |= {f"scenario: {s}": {r["item_id"] for r in own if r["scenario"] == s} for s in scenarios}
        for name, items in slices.items():
            if items:
                found += [{"model": model, "slice": name} | row for row in expected_slice(own, items)]
    return found


def expected_slice(rows: list[dict], items: set[str]) -> list[dict]:
    ok = {(r["point"], r["item_id"]): r for r in rows if r["status"] == "ok" and r["item_id"] in items}
    groups: dict[str, list[str]] = {}
    for point in GRID:
        groups.setdefault(point.group_name, []).append(point.name)
    judged = {
        group: [
            i for i in sorted(items) if all(ok.get((p, i), {}).get("correct") is not None for p in points)
        ]
        for group, points in groups.items()
    }
    found = []
    for group, points in groups.items():
        answered = [ok[p, i] for p in points for i in judged[group]]
        row = {
            "point": group,
            "num_items": len(judged[group]),
            "num_failed": sum(any((p, i) not in ok for p in points) for i in items),
            "accuracy": fmean(r["correct"] for r in answered) if answered else None,
            "tflops_question": fmean(r["tflops_total"] - 2.0 for r in answered) if answered else None,
            "majority_letter_accuracy": None,
            "difference": None,
            "p_value": None,
        }
        if answered:
            letters = Counter(ok[points[0], i]["answer"] for i in judged[group])
            row["majority_letter_accuracy"] = max(letters.values()) / len(judged[group])
        reference = {"0.2": "speechprune(pruning_rate=0.2)", "0.4": "speechprune(pruning_rate=0.4)"}.get(
            group[-4:-1]
        )
        both = sorted(set(judged[group]) & set(judged[reference])) if reference else []
        if both and reference != group:
            right = [[ok[p, i]["correct"] for i in both] for p in points]
            other = [ok[reference, i]["correct"] for i in both]
            row["difference"] = fmean(itertools.chain(*right)) - fmean(other)
            row["p_value"] = max(mcnemar_p(seed, other) for seed in right)
        found.append(row)
    for row in found:
        row["is_pareto"] = (
            None
            if row["accuracy"] is None
            else not any(
                (other["accuracy"], -other["tflops_question"]) != (row["accuracy"], -row["tflops_question"])
                and other["accuracy"] >= row["accuracy"]
                and other["tflops_question"] <= row["tflops_question"]
                for other in found
                if other["accuracy"] is not None
            )
        )
    return found


@settings(max_examples=50)
@given(sweeps(), st.randoms(use_true_random=False))
def test_points_are_what_loops_over_the_answers_say(rows, random):
    if not rows:
        return
    carried = {"scenario": pa.string()}
    known = any(row["scenario"] for row in rows)
    options = {"slices": ["scenario"] if known else [], "reference": {"method": "speechprune"}}
    table = points_table(answers(rows, **carried), GRID, **options)
    expected = expected_rows(rows)
    assert len(table) == len(expected)
    for row, right in zip(table.to_pylist(), expected, strict=True):
        numbers = {name: value for name, value in right.items() if isinstance(value, float)}
        assert {name: row[name] for name in right if name not in numbers} == {
            name: value for name, value in right.items() if name not in numbers
        }
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, abs=1e-12)
    shuffled = random.sample(rows, len(rows))
    assert points_table(answers(shuffled, **carried), GRID, **options).equals(table)
