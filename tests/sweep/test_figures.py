"""Figures are drawn where the sweep has what they show, and say so in words that can be read."""

import io
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from speechprune.inference.point import Point
from speechprune.pruning import METHODS
from speechprune.sweep.figures import draw_figures, render
from speechprune.sweep.figures.rows import file_names, line_name, short_names
from speechprune.sweep.figures.style import METHOD_STYLES, WIDTH_INCHES, method_style
from tests.helpers.synthetic_points import START, grid_points, points_table, position_slices

ONE_RATE = [point for point in grid_points() if point.method.rate in (None, 0.2)]


def drawn(**options) -> dict:
    return {figure.name: figure for figure in draw_figures(points_table(**options))}


def encode_query_words(svg: bytes) -> str:
    return " ".join(text for text in ElementTree.fromstring(svg).itertext() if text.strip())


def speechprune_points(budgets_and_rates) -> list[Point]:
    method = METHODS["speechprune"]
    return [Point(method=method(phase1_budget=k, pruning_rate=rate)) for k, rate in budgets_and_rates]


def test_a_sweep_over_rates_and_slices():
    assert set(drawn(slices=position_slices() | {"hard": 50})) == {
        "accuracy_by_rate",
        "accuracy_by_rate_hard",
        "accuracy_by_cost",
        "accuracy_by_position",
        "seconds_by_stage",
    }


def test_one_rate_has_no_curve_over_rates():
    assert set(drawn(points=ONE_RATE, slices={"all": 100})) == {"accuracy_by_cost", "seconds_by_stage"}


def test_one_slice_or_one_budget_or_one_benchmark_is_no_line():
    assert not {"accuracy_by_position", "accuracy_by_budget", "accuracy_by_benchmark"} & set(
        drawn(slices={"all": 40, "position: first quarter": 10})
    )


def test_one_point_is_no_trade():
    assert set(drawn(points=ONE_RATE[:1], slices={"all": 10})) == {"seconds_by_stage"}


def test_slices_without_items_are_left_out():
    assert "accuracy_by_rate_hard" not in drawn(slices={"all": 40, "hard": 0})
    assert draw_figures(points_table(slices={"all": 0})) == []


def test_several_models_and_benchmarks_have_a_figure_each_and_one_over_benchmarks():
    names = set(drawn(models=("a/tiny", "b/tiny", "c/big"), benchmarks=("90 s", "1 h"), points=ONE_RATE))
    assert {f"accuracy_by_benchmark-{model}" for model in ("a_tiny", "b_tiny", "c_big")} < names
    assert "accuracy_by_cost-c_big-1_h" in names
    assert len(names) == 3 * (2 + 2)


def test_budgets_at_equal_rates_or_with_equally_many_kept_tokens():
    slices = {"all": 100}
    for pairs, label in (
        ([(375, 0.2), (750, 0.2), (375, 0.6), (750, 0.6)], "speechprune, rate 0.6"),
        ([(150, 0.0), (300, 0.5), (750, 0.8)], "speechprune, 150 tokens kept"),
    ):
        figure = drawn(points=speechprune_points(pairs), slices=slices)["accuracy_by_budget"]
        assert label in encode_query_words(render(figure.figure)["svg"])


def test_phase_two_alone_stands_beside_the_budgets():
    points = speechprune_points([(300, 0.0), (750, 0.6)])
    points += [Point(method=METHODS["second_phase"](pruning_rate=rate)) for rate in (0.2, 0.6)]
    svg = render(drawn(points=points, slices={"all": 100})["accuracy_by_budget"].figure)["svg"]
    assert "second_phase(pruning_rate=0.6)" in encode_query_words(svg)
    assert "second_phase(pruning_rate=0.2)" not in encode_query_words(svg)


def test_a_line_looks_the_same_in_every_panel():
    first_phase = METHODS["first_phase"]
    points = [
        Point(method=first_phase(pruning_rate=rate, allocation=allocation))
        for rate, allocations in ((0.2, ("fill", "floor")), (0.6, ("floor",)))
        for allocation in allocations
    ]
    figure = drawn(points=points, benchmarks=("a", "b"), slices={"all": 100})["accuracy_by_benchmark"].figure
    styles = [
        {str(bars.get_label()): bars.lines[0].get_linestyle() for bars in axes.containers}
        for axes in figure.axes
    ]
    assert styles[0] == {"first_phase": "-", "first_phase(allocation=floor)": "--"}
    assert styles[1] == {"first_phase(allocation=floor)": "--"}


def test_the_lowest_panel_of_each_column_names_the_categories():
    points = [Point(method=METHODS["random"](pruning_rate=rate)) for rate in (0.2, 0.6, 0.8)]
    figure = drawn(points=points, benchmarks=("a", "b"), slices={"all": 100})["accuracy_by_benchmark"].figure
    named = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes]
    assert named == [False, True, True]


@pytest.fixture(scope="module")
def all_figures() -> dict:
    return drawn(benchmarks=("clean", "5 dB"), slices=position_slices() | {"hard": 30})


def test_files_are_valid_and_wide_enough(all_figures):
    for figure in all_figures.values():
        files = render(figure.figure)
        assert Image.open(io.BytesIO(files["png"])).width == WIDTH_INCHES * 150 == 1200
        assert ElementTree.fromstring(files["svg"]).tag.endswith("}svg")
        assert all(method in encode_query_words(files["svg"]) for method in (*START, "truncate", "none"))


def test_baselines_and_rates_are_named(all_figures):
    by_rate = encode_query_words(render(all_figures["accuracy_by_rate-clean"].figure)["svg"])
    assert "no audio" in by_rate
    assert "commonest letter" in by_rate
    across = encode_query_words(render(all_figures["accuracy_by_benchmark"].figure)["svg"])
    assert "pruning rate 0.8" in across
    assert "5 dB" in across


def test_the_same_points_give_the_same_bytes():
    twice = [render(drawn()["accuracy_by_rate"].figure) for _ in range(2)]
    assert twice[0] == twice[1]


def test_a_benchmark_may_be_called_anything():
    figures = drawn(benchmarks=("<b>& $x_$", "../up"), points=ONE_RATE, slices={"all": 10})
    assert "accuracy_by_cost-b_x" in figures
    assert "accuracy_by_cost-up" in figures
    assert "<b>& $x_$" in encode_query_words(render(figures["accuracy_by_benchmark"].figure)["svg"])


def test_methods_differ_in_colour_and_marker():
    assert set(METHODS) <= set(METHOD_STYLES)
    for values in zip(*METHOD_STYLES.values(), strict=True):
        assert len(set(values)) == len(values)
    assert method_style("to_come") == method_style("to_come")


def test_names():
    row = {"point": "speechprune(allocation=floor, pruning_rate=0.2)"}
    assert line_name(row) == "speechprune(allocation=floor)"
    assert line_name({"point": "random(pruning_rate=0.2)"}) == "random"
    assert line_name({"point": "none"}) == "none"
    assert short_names(["x/demo/", "y/demo", "z/big"]) == {
        "x/demo/": "x/demo/",
        "y/demo": "y/demo",
        "z/big": "big",
    }
    assert list(file_names(["a b", "a/b", "//"]).values()) == ["a_b", "a_b-2", "unnamed"]
