"""Questions are put once for all methods; the permuted check tells how far an answer hangs on letters."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune import AnsweringOptions, FirstPhase, RandomCrop, SpeechPrune, Truncate
from speechprune.inference.answer import answer_items, answer_prepared
from speechprune.inference.prepare import prepare_queries
from speechprune.inference.prompts import moved_order
from speechprune.inference.types import Item

CHOICES = ("In the garden", "At the office", "By the lighthouse", "Nowhere")
METHODS = [
    SpeechPrune(phase1_budget=100),
    FirstPhase(phase1_budget=100, pruning_rate=0.5),
    RandomCrop(phase1_budget=100),
    Truncate(phase1_budget=100),
]
OPTIONS = AnsweringOptions(max_new_tokens=3)
CHECKED = replace(OPTIONS, permuted_check=True)
MEASURED = {"seconds_prune", "seconds_prefill", "seconds_generate", "peak_memory_bytes"}


@pytest.fixture(scope="module")
def items(tiny_lm, speech) -> list[Item]:
    audios = tiny_lm.encode_many([speech(8.0), speech(9.0, start=60.0)])
    return [
        Item(item_id=f"{i}-{j}", audio=audio, question=question, choices=choices)
        for i, audio in enumerate(audios)
        for j, (question, choices) in enumerate(
            [("Where do they meet?", CHOICES), ("Who is it?", CHOICES[:2]), ("Why?", None)]
        )
    ]


def assert_same(ours, theirs):
    for name, value in vars(theirs).items():
        if name not in MEASURED:
            np.testing.assert_equal(getattr(ours, name), value)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_answers_to_questions_put_for_many_methods_are_those_of_one(tiny_lm, items, method):
    queries = prepare_queries(tiny_lm.model, items, METHODS, OPTIONS)
    together = answer_prepared(tiny_lm.model, queries, method, OPTIONS)
    for ours, theirs in zip(together, answer_items(tiny_lm.model, items, method, OPTIONS), strict=True):
        assert_same(ours, theirs)


def test_a_method_that_does_not_listen_pays_for_no_scores(tiny_lm, items):
    queries = prepare_queries(tiny_lm.model, items[:1], METHODS, OPTIONS)
    assert set(queries[0].feature_seconds) == {"token_scores"}
    queries = [replace(query, feature_seconds={"token_scores": 100.0}) for query in queries]
    seconds = {
        method: answer_prepared(tiny_lm.model, queries, method, OPTIONS)[0].seconds_prune
        for method in METHODS
    }
    assert [seconds[method] > 100 for method in METHODS] == [True, True, False, False]


def test_the_check_changes_nothing_but_what_it_tells(tiny_lm, items):
    plain = answer_items(tiny_lm.model, items, METHODS[0], OPTIONS)
    checked = answer_items(tiny_lm.model, items, METHODS[0], CHECKED)
    for ours, theirs, item in zip(checked, plain, items, strict=True):
        assert theirs.permuted_prediction is None
        assert (ours.permuted_prediction is None) == (item.choices is None)
        # batches of other prompts: to rounding
        np.testing.assert_allclose(
            ours.choice_probabilities or [], theirs.choice_probabilities or [], atol=1e-5
        )
        assert ours.prediction == theirs.prediction
        assert ours.cost == theirs.cost


def test_the_check_is_the_answer_to_the_choices_in_the_moved_order(tiny_lm, items):
    for item in (item for item in items if item.choices):
        order = moved_order(len(item.choices), item.item_id)
        (checked,) = answer_items(tiny_lm.model, [item], METHODS[0], CHECKED)
        moved = replace(item, choices=tuple(item.choices[i] for i in order))
        (answer,) = answer_items(tiny_lm.model, [moved], METHODS[0], OPTIONS)
        letter = "ABCD"[item.choices.index(answer.prediction_text)]
        assert checked.permuted_prediction == letter


@given(st.integers(2, 26), st.text(max_size=10))
def test_in_the_moved_order_no_choice_stays(num_choices, item_id):
    order = moved_order(num_choices, item_id)
    assert sorted(order) == list(range(num_choices))
    assert all(place != choice for place, choice in enumerate(order))
    assert order == moved_order(num_choices, item_id)
