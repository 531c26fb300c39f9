"""The grid of a sweep: its points, their names, what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.inference.point import Point
from speechprune.pruning import METHODS, SpeechPrune
from speechprune.sweep.grid import check_reference, expand_grid, find_reference, group_points
from tests.helpers.answer_rows import grid
from tests.helpers.own_method import KeepEvery

RATES = [0.2, 0.4]


def names(*blocks: dict) -> list[str]:
    return [point.name for point in grid(*blocks)]


def test_every_combination_is_a_point_in_the_order_given():
    assert names({"method": ["speechprune", "first_phase"], "pruning_rate": RATES}, {"method": "none"}) == [
        "speechprune(pruning_rate=0.2)",
        "speechprune(pruning_rate=0.4)",
        "first_phase(pruning_rate=0.2)",
        "first_phase(pruning_rate=0.4)",
        "none",
    ]


def test_a_setting_goes_to_the_methods_that_have_it():
    block = {
        "method": ["random", "second_phase", "truncate"],
        "pruning_rate": 0.4,
        "seed": [0, 1],
        "scale": "xnor",
    }
    assert names(block) == [
        "random(pruning_rate=0.4)",
        "random(pruning_rate=0.4, seed=1)",
        "second_phase(pruning_rate=0.4, scale=xnor)",
        "truncate",
    ]


def test_a_point_named_twice_is_one_point():
    assert names({"method": "none"}, {"method": ["truncate", "none"]}) == ["none", "truncate"]


def test_names_tell_the_rate_and_what_is_not_at_its_default():
    block = {"method": "speechprune", "allocation": "floor", "phase1_budget": [750, 1500], "pruning_rate": 0}
    assert names(block) == [
        "speechprune(allocation=floor, pruning_rate=0)",
        "speechprune(allocation=floor, phase1_budget=1500, pruning_rate=0)",
    ]
    assert names({"method": "random_crop"}) == ["random_crop(pruning_rate=0.2)"]
    assert names({"method": "truncate", "phase1_budget": 75}) == ["truncate(phase1_budget=75)"]


def test_settings_are_the_methods_own_with_its_name():
    (point,) = grid({"method": "speechprune", "pruning_rate": 0.4})
    assert point.method == SpeechPrune(pruning_rate=0.4)
    assert point.settings == {
        "method": "speechprune",
        "phase1_budget": 750,
        "pruning_rate": 0.4,
        "allocation": "fill",
        "similarity": "mean",
        "standardise": False,
        "frame_seconds": 1,
        "scale": "sign",
        "query_text": "question_and_choices",
    }
    assert grid({"method": "none"})[0].settings == {"method": "none", "phase1_budget": 750}


def test_seeds_share_a_group_name():
    points = grid({"method": "random", "pruning_rate": 0.4, "seed": [0, 3], "segment_tokens": 10})
    assert [point.seed for point in points] == [0, 3]
    assert {point.group_name for point in points} == {"random(pruning_rate=0.4, segment_tokens=10)"}
    assert points[1].name == "random(pruning_rate=0.4, seed=3, segment_tokens=10)"
    assert grid({"method": "none"})[0].seed is None


def test_query_text_is_of_the_methods_that_compare_with_it():
    block = {"method": ["first_phase", "random"], "query_text": ["question", "question_and_choices"]}
    assert names(block) == [
        "first_phase(pruning_rate=0.2, query_text=question)",
        "first_phase(pruning_rate=0.2)",
        "random(pruning_rate=0.2)",
    ]
    default = expand_grid([{"method": ["first_phase", "random"]}], "question")
    assert [point.name for point in default] == [
        "first_phase(pruning_rate=0.2, query_text=question)",
        "random(pruning_rate=0.2)",
    ]
    assert default[1] == Point(method=default[1].method)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, unique=True))
def test_points_that_differ_have_names_that_differ(rates):
    points = grid({"method": "speechprune", "pruning_rate": rates})
    assert [point.method.rate for point in points] == rates
    assert len({point.name for point in points}) == len(rates)


MODULE = "tests.helpers.own_method"
OWN = f"{MODULE}:KeepEvery"


def test_a_class_of_the_users_own_is_swept_by_its_import_path():
    points = grid({"method": [OWN, "truncate"], "every": [2, 4], "phase1_budget": 100})
    assert [point.method for point in points] == [
        KeepEvery(every=2, phase1_budget=100),
        KeepEvery(phase1_budget=100),
        METHODS["truncate"](phase1_budget=100),
    ]
    assert [point.name for point in points] == [
        "keep_every(every=2, phase1_budget=100)",
        "keep_every(phase1_budget=100)",
        "truncate(phase1_budget=100)",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_point(method):
    (point,) = grid({"method": method})
    assert point.method == METHODS[method]()


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"pruning_rate": 0.2}, "block 2: method is missing, give one or a list of speechprune, first_phase"),
        ({"method": "speechprun"}, "block 2: method is 'speechprun': did you mean speechprune?"),
        ({"method": ["none", "RAP"]}, "block 2: method is 'RAP': give speechprune, first_phase"),
        ({"method": None}, "block 2: method is 'None': "),
        ({"method": {"name": "none"}}, "block 2: method is \"{'name': 'none'}\": "),
        ({"method": "gone:X"}, "block 2: method is 'gone:X', but there is no module gone: put its folder"),
        ({"method": OWN, "evry": 2}, f"block 2: {OWN} has no setting evry: did you mean every?"),
        ({"method": OWN, "every": 0}, "block 2: every is 0: give at least 1"),
        ({"method": []}, "block 2: method is an empty list, give at least one value"),
        ({"method": "random", "seed": []}, "block 2: seed is an empty list, give at least one value"),
        (
            {"method": "random", "pruning_rates": [0.2]},
            "block 2: random has no setting pruning_rates: did you mean pruning_rate?",
        ),
        (
            {"method": ["none", "truncate"], "pruning_rate": 0.2},
            "block 2: none or truncate has no setting pruning_rate: valid here: method, phase1_budget",
        ),
        ({"method": "none", "query_text": "question"}, "block 2: none has no setting query_text: "),
        ({"method": "random", 7: 1}, "block 2: random has no setting 7: valid here: "),
        (
            {"method": "speechprune", "pruning_rate": [0.2, 1.5]},
            "block 2: pruning_rate is 1.5: give a share from 0 to below 1",
        ),
        ({"method": "none", "phase1_budget": 0}, "block 2: phase1_budget is 0: give at least 1 token"),
        (
            {"method": "speechprune", "pruning_rate": "high"},
            "block 2: pruning_rate is 'high': input should be a valid number",
        ),
        (
            {"method": "speechprune", "allocation": "flor"},
            "block 2: allocation is 'flor': input should be 'fill' or 'floor'",
        ),
        (
            {"method": "speechprune", "query_text": "choices"},
            "block 2: query_text is 'choices': give question_and_choices or question",
        ),
    ],
)
def test_a_block_that_cannot_be_is_refused_in_one_sentence(block, sentence):
    with pytest.raises(ValueError, match="points, block 2") as raised:
        grid({"method": "none"}, block)
    assert str(raised.value).startswith(f"points, {sentence}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        (
            [{"method": OWN}, {"method": f"{MODULE}:AnotherKeepEvery", "every": 2}],
            f"points, block 2: {MODULE}:AnotherKeepEvery and {OWN} are both named 'keep_every': give one",
        ),
        (
            [{"method": [f"{MODULE}:OtherLengths", f"{MODULE}:Longest"]}],
            "two different features are named 'lengths', one of them of the method 'longest': give",
        ),
    ],
    ids=["methods", "features"],
)
def test_two_of_one_name_are_refused(blocks, sentence):
    with pytest.raises(ValueError, match="named") as raised:
        grid(*blocks)
    assert str(raised.value).startswith(sentence)


def test_a_grid_without_points_is_refused():
    with pytest.raises(ValueError, match="points is empty: give at least one, such as"):
        grid()


def references(points: list[Point], settings: dict | None) -> dict[str, str | None]:
    groups = group_points(points)
    found = {group.name: find_reference(group, groups, settings) for group in groups}
    return {name: reference and reference.name for name, reference in found.items()}


def test_the_reference_is_the_point_with_its_settings():
    points = grid(
        {"method": "none"}, {"method": ["speechprune", "random"], "pruning_rate": RATES, "seed": [0, 1]}
    )
    of_random = {f"random(pruning_rate={rate})": f"speechprune(pruning_rate={rate})" for rate in RATES}
    others = {"none": None, "speechprune(pruning_rate=0.2)": None, "speechprune(pruning_rate=0.4)": None}
    assert references(points, {"method": "speechprune"}) == others | of_random
    assert references(points, None) == dict.fromkeys(others | of_random)
    to_none = references(points, {"method": "none"})
    assert to_none == dict.fromkeys(others | of_random, "none") | {"none": None}
    at_one_rate = references(points, {"method": "random", "pruning_rate": 0.4})
    assert set(at_one_rate.values()) == {"random(pruning_rate=0.4)", None}


def test_of_several_with_the_same_rate_the_reference_has_the_same_budget():
    points = grid(
        {"method": ["speechprune", "first_phase"], "phase1_budget": [750, 1500], "pruning_rate": RATES}
    )
    found = references(points, {"method": "speechprune"})
    assert found["first_phase(phase1_budget=1500, pruning_rate=0.2)"] == (
        "speechprune(phase1_budget=1500, pruning_rate=0.2)"
    )
    assert found["speechprune(pruning_rate=0.2)"] is None


def test_a_reference_that_is_not_one_point_is_none():
    points = grid(
        {"method": "speechprune", "allocation": ["fill", "floor"], "pruning_rate": 0.2},
        {"method": "first_phase", "pruning_rate": [0.2, 0.6]},
    )
    assert set(references(points, {"method": "speechprune"}).values()) == {None}


def test_a_reference_outside_of_the_grid_is_refused():
    points = grid({"method": ["none", "speechprune"]})
    check_reference(points, None)
    check_reference(points, {"method": "speechprune"})
    with pytest.raises(
        ValueError, match=r"\{method: random\} is no point of the grid; its points are none, "
    ):
        check_reference(points, {"method": "random"})
