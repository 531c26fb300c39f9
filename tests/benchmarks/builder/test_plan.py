"""Plans are balanced exactly, whatever the size of the benchmark."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.benchmarks.builder.plan import ItemsOptions, plan_recordings, plan_voices

options = st.builds(
    ItemsOptions,
    num_recordings=st.integers(1, 60),
    questions_per_recording=st.integers(1, 5),
    min_seconds=st.floats(20, 100),
    max_seconds=st.floats(100, 4000),
    seed=st.integers(0, 2**32),
    fact_group=st.sampled_from(["training", "held_out"]),
    held_out_voices=st.floats(0, 1),
)
hierarchies = st.lists(
    st.tuples(
        st.sampled_from(["lecture", "meeting", "conversation"]),
        st.sampled_from("abc"),
        st.sampled_from("xyz"),
    ),
    min_size=1,
    unique=True,
)


def is_even(counts: list[int]) -> bool:
    return max(counts) - min(counts) <= 1


@given(options, hierarchies)
def test_letters_are_even_over_the_benchmark(items, topics):
    letters = [letter for plan in plan_recordings(items, topics) for letter in plan.letters]
    assert len(letters) == items.num_recordings * items.questions_per_recording
    assert is_even([letters.count(letter) for letter in "ABCD"])


@given(options, hierarchies)
def test_every_nth_of_the_length_holds_one_critical_fact(items, topics):
    plans = plan_recordings(items, topics)
    positions = sorted(position for plan in plans for position in plan.positions)
    # rounding may lift a position that lies on the edge of its n-th by an ulp
    assert [int(p * len(positions) + 1e-9) for p in positions] == list(range(len(positions)))


@given(options, hierarchies)
def test_facts_of_a_recording_lie_in_different_parts_of_it(items, topics):
    num_parts = items.questions_per_recording
    for plan in plan_recordings(items, topics):
        assert [int(p * num_parts + 1e-9) for p in plan.positions] == list(range(num_parts))


@given(options, hierarchies)
def test_every_level_of_the_hierarchy_is_dealt_evenly(items, topics):
    places = Counter((p.scenario, p.topic, p.subtopic) for p in plan_recordings(items, topics))
    assert set(places) <= set(topics)
    for level in range(3):
        for parent in {topic[:level] for topic in topics}:
            children = {topic[: level + 1] for topic in topics if topic[:level] == parent}
            counts = [
                sum(n for place, n in places.items() if place[: level + 1] == child) for child in children
            ]
            assert is_even(counts)


@given(options, hierarchies)
def test_groups_and_lengths_are_as_asked(items, topics):
    plans = plan_recordings(items, topics)
    num_held_out = sum(plan.voice_group == "held_out" for plan in plans)
    assert num_held_out == round(items.num_recordings * items.held_out_voices)
    assert {plan.fact_group for plan in plans} == {items.fact_group}
    assert all(items.min_seconds <= plan.seconds <= items.max_seconds for plan in plans)


@given(options, hierarchies)
def test_ids_and_seeds_are_their_own_and_names_sort(items, topics):
    plans = plan_recordings(items, topics)
    assert len({plan.seed for plan in plans}) == len(plans)
    names = [plan.recording_id for plan in plans]
    assert names == sorted(set(names))


@given(options, hierarchies)
def test_the_seed_alone_decides(items, topics):
    assert plan_recordings(items, topics) == plan_recordings(items, topics)


def test_another_seed_gives_another_plan():
    topics = [("lecture", "science", name) for name in "abc"]
    first, second = (plan_recordings(ItemsOptions(seed=seed), topics) for seed in (0, 1))
    assert [plan.letters for plan in first] != [plan.letters for plan in second]


def test_letter_and_position_know_nothing_of_each_other():
    """A model that hears where the fact is must not know the letter by it."""
    plans = plan_recordings(ItemsOptions(num_recordings=2000), [("lecture", "science", "stars")])
    late = [
        letter for plan in plans for letter, p in zip(plan.letters, plan.positions, strict=True) if p > 0.5
    ]
    for letter in "ABCD":
        assert late.count(letter) / len(late) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(late)) ** 0.5)


@given(options)
def test_texts_that_exist_get_seeds_and_voices(items):
    voices = plan_voices(items, 40)
    assert len({seed for seed, _ in voices}) == 40
    assert sum(group == "held_out" for _, group in voices) == round(40 * items.held_out_voices)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_recordings": 0}, "num_recordings is 0"),
        ({"questions_per_recording": 0}, "questions_per_recording is 0"),
        ({"min_seconds": 95, "max_seconds": 85}, "min_seconds is 95 and max_seconds 85"),
        ({"min_seconds": 0}, "min_seconds is 0"),
        ({"max_seconds": float("inf")}, "min_seconds is 85 and max_seconds inf"),
        ({"held_out_voices": 1.5}, "held_out_voices is 1.5"),
    ],
)
def test_options_that_make_no_benchmark_are_refused_by_name(values, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        ItemsOptions(**values)
