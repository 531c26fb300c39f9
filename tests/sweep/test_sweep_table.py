"""What a sweep prints."""

import io

import pytest
from rich.console import Console

from speechprune.sweep.points import points_table
from speechprune.sweep.terminal_table import LEGEND, show_sweep
from tests.helpers.answer_rows import answers, grid, right_of

WIDTH = 110


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=WIDTH)
    show_sweep(table, console)
    text = console.file.getvalue()
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return text


def lines_with(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip("* ").startswith(start)]


@pytest.fixture
def points():
    return grid({"method": ["none", "truncate"]}, {"method": "speechprune", "pruning_rate": [0.4]})


@pytest.fixture
def rows(points):
    return [
        *right_of("none", "++++++++--", correct_permuted=True, tflops_total=22.0, num_kept_tokens=2250),
        *right_of("truncate", "++--------", correct_permuted=False, tflops_total=13.0, seconds_prune=0.0),
        *right_of(
            points[2].name, "+++++++++-", correct_permuted=True, tflops_total=8.2, seconds_prune=0.0123
        ),
    ]


def test_a_row_tells_accuracy_beside_cost(points, rows):
    """Hard are the 8 that truncate misses: none has 6 of them, speechprune 7; 6.2 of 20 TFLOPs are 31 %."""
    for row in rows:
        row["answer"] = "ABCD"[int(row["item_id"]) % 4]
    text = printed(points_table(answers(rows), points, reference={"method": "none"}))
    (none,) = lines_with(text, "none")
    assert " ".join(none.split()) == ("none 80.0 (49-94) 75.0 100.0 2,250 10 20 100 250 500")
    (pruned,) = lines_with(text, "speechprune  ")
    assert " ".join(pruned.split()) == (
        "* speechprune 0.4 90.0 (60-98) 87.5 100.0 600 10 6.2 31 12.3 500 +10.0 p=1.000"
    )
    (original,) = lines_with(text, "truncate")
    assert " ".join(original.split()) == ("truncate 20.0 (6-51) 0.0 0.0 600 10 11 55 0 500 -60.0 p=0.031")


def test_the_header_tells_what_scores_without_listening(points, rows):
    for row in rows:
        row["correct_without_audio"] = row["item_id"] in "012"
        row["answer"] = "A" if row["item_id"] in "0123" else "B"
    text = printed(points_table(answers(rows), points))
    assert "m, b: 10 items, always the commonest letter 60.0%, without audio 30.0%" in text
    assert "failed" not in text
    rows = [*right_of("none", "+++++ff---"), *rows[10:]]
    assert "up to 2 failed" in printed(points_table(answers(rows), points))


def test_no_point_at_chance_is_marked(points, rows):
    """One letter is always right: 100 % for nothing. Then what no audio gives away is 90 %."""
    table = points_table(answers(rows), points)
    assert "*" not in printed(table).replace(LEGEND, "")
    for row in rows:
        row["answer"], row["correct_without_audio"] = "ABCD"[int(row["item_id"]) % 4], row["item_id"] != "9"
    assert "*" not in printed(points_table(answers(rows), points)).replace(LEGEND, "")


def test_columns_that_nothing_was_asked_for_are_left_out(points):
    one = points[:1]
    text = printed(points_table(answers(right_of("none", "+-")), one))
    for absent in ("hard", "muted", "difference", "without audio"):
        assert absent not in text
    assert LEGEND in text


def test_every_model_and_benchmark_has_a_table(points, rows):
    both = [*rows, *({**row, "benchmark": "[c]", "model": "a/b"} for row in rows)]
    text = printed(points_table(answers(both), points))
    assert text.index("a/b, [c]: 10 items") < text.index("m, b: 10 items")
    assert text.count(LEGEND) == 1


def test_further_settings_have_a_line_each():
    block = {"method": "random", "pruning_rate": 0.4, "segment_tokens": 25, "phase1_budget": 1500}
    points = grid({"method": "none"}, block)
    rows = [row for point in points for row in right_of(point.name, "+" * 5 + "-" * 3, correct_permuted=True)]
    text = printed(points_table(answers(rows), points, reference={"method": "none"}))
    lines = [line.strip() for line in text.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.lstrip("* ").startswith("random "))
    assert lines[start + 1 : start + 3] == ["phase1_budget=1500", "segment_tokens=25"]


def test_the_reference_is_named(points, rows):
    table = points_table(answers(rows), points, reference={"method": "none"})
    assert "difference to none, in points" in printed(table)
    two = grid({"method": ["speechprune", "random"], "pruning_rate": [0.2, 0.4]})
    rows = [row for point in two for row in right_of(point.name, "+-")]
    table = points_table(answers(rows), two, reference={"method": "speechprune"})
    assert "difference to speechprune at the same rate, in points" in printed(table)


def test_a_point_without_answers_has_empty_cells(points):
    text = printed(points_table(answers(right_of("none", "+-") + right_of("truncate", "ff")), points))
    (original,) = lines_with(text, "truncate")
    assert original.split() == ["truncate"]
