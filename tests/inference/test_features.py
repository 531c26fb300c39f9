"""Features of methods: only those that are listed, once a recording, timed and counted."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from speechprune import FirstPhase, NoPruning
from speechprune.cost import phase1_flops
from speechprune.inference.answer import answer_items, answer_prepared
from speechprune.inference.prepare import prepare_queries
from speechprune.pruning import TOKEN_SCORES, WORD_MATCHES, Feature, PruningResult
from tests.helpers.asked import CHOICES, OPTIONS, answered
from tests.helpers.own_method import LENGTHS, KeepEvery, Longest, OtherLengths


@dataclass(frozen=True, kw_only=True)
class Unlisted(NoPruning):
    """Lists one feature and reads another."""

    features: ClassVar[tuple[Feature, ...]] = (TOKEN_SCORES,)

    def keep(self, inputs, num_kept):
        return PruningResult(np.argsort(inputs[WORD_MATCHES].best_cosines)[:num_kept])


@pytest.fixture
def counted(monkeypatch):
    """Longest, with a note of the questions of each time that its feature was computed."""
    calls = []

    def compute(inputs):
        calls.append(len(inputs.queries))
        return LENGTHS.compute(inputs)

    feature = replace(LENGTHS, compute=compute)
    monkeypatch.setattr(Longest, "features", (feature,))
    monkeypatch.setattr("tests.helpers.own_method.LENGTHS", feature)
    return calls


def test_a_feature_that_is_not_listed_is_named(tiny_lm, items):
    [outcome] = answer_items(tiny_lm.model, items[:1], Unlisted(), OPTIONS)
    assert isinstance(outcome, KeyError)
    assert "the feature word_matches is not listed in the method's features" in str(outcome)


def test_other_methods_features_are_not_there(tiny_lm, items):
    """Prepared for a method that lists it, it stays hidden from one that doesn't."""
    queries = prepare_queries(tiny_lm.model, items[:1], [FirstPhase(), Longest(), Unlisted()], OPTIONS)
    assert set(queries[0].features) == set(queries[0].feature_seconds) == {"token_scores", "lengths"}
    [outcome] = answer_prepared(tiny_lm.model, queries, Unlisted(), OPTIONS)
    assert isinstance(outcome, KeyError)


def test_two_features_of_one_name_do_not_overwrite_each_other(tiny_lm, items):
    [outcome] = prepare_queries(tiny_lm.model, items[:1], [Longest(), OtherLengths()], OPTIONS)
    assert isinstance(outcome, ValueError)
    assert "two different features are named 'lengths'" in str(outcome)


def test_a_feature_is_computed_once_a_recording_for_all_questions(tiny_lm, items, counted):
    """Three recordings with three questions each, prepared for three methods of which two list it."""
    methods = [Longest(), Longest(pruning_rate=0.5), FirstPhase()]
    queries = prepare_queries(tiny_lm.model, items[::-1], methods, OPTIONS)
    assert counted == [3, 3, 3]
    for method in methods:
        answer_prepared(tiny_lm.model, queries, method, OPTIONS)
    assert counted == [3, 3, 3]


def test_its_values_are_those_of_the_question_alone(tiny_lm, items):
    for item, answer in zip(items, answered(tiny_lm, items, Longest(phase1_budget=100)), strict=True):
        lengths = item.audio.embeds.norm(dim=1).numpy()
        ranked = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        assert answer.kept_indices.tolist() == sorted(ranked[:80])


def test_its_seconds_and_flops_are_counted_for_the_methods_that_list_it(tiny_lm, items):
    own, other = Longest(), FirstPhase()
    queries = prepare_queries(tiny_lm.model, items[:3], [own, other], OPTIONS)
    for query in queries:
        assert query.feature_seconds["lengths"] == queries[0].feature_seconds["lengths"] > 0
    queries = [replace(query, feature_seconds={"lengths": 100.0, "token_scores": 1.0}) for query in queries]
    decoder = tiny_lm.model.shape.decoder
    num_tokens = len(items[0].audio.embeds)
    for answer in answer_prepared(tiny_lm.model, queries, own, OPTIONS):
        assert answer.seconds_prune > 100
        assert answer.cost.tflops_prune == 2 * num_tokens * decoder.hidden_size / 1e12
    for answer in answer_prepared(tiny_lm.model, queries, other, OPTIONS):
        assert 1 < answer.seconds_prune < 100
        assert answer.cost.tflops_prune == phase1_flops(decoder, num_tokens) / 1e12


@pytest.mark.parametrize("method", ["tests.helpers.own_method:KeepEvery", KeepEvery(every=4)])
def test_a_class_of_ones_own_answers_in_the_notebook(tiny_lm, items, method):
    audio = items[0].audio
    answer = tiny_lm.answer(audio, "Where do they meet?", CHOICES, method=method)
    assert answer.kept_indices.tolist() == list(range(0, len(audio.embeds), 4))
    assert answer.evidence == []
    assert answer.cost.tflops_prune == 0


@pytest.mark.parametrize(
    "kept",
    [[0, 4, 8], np.array([0, 4, 8], np.int32), torch.tensor([0, 4, 8])],
    ids=lambda kept: type(kept).__name__,
)
def test_a_class_of_ones_own_may_give_an_array_or_a_tensor(tiny_lm, items, kept):
    @dataclass(frozen=True, kw_only=True)
    class Given(NoPruning):
        def keep(self, inputs, num_kept):
            return PruningResult(kept)

    [answer] = answered(tiny_lm, items[:1], Given())
    assert answer.kept_indices.dtype == np.int64
    assert answer.kept_indices.tolist() == [0, 4, 8]


@pytest.mark.parametrize("kept", [np.array([0.0, 4.0]), np.array([True, False]), np.array([[0, 4]])], ids=str)
def test_what_cannot_be_indices_is_named(tiny_lm, items, kept):
    @dataclass(frozen=True, kw_only=True)
    class Odd(NoPruning):
        def keep(self, inputs, num_kept):
            return PruningResult(kept)

    [outcome] = answer_items(tiny_lm.model, items[:1], Odd(), OPTIONS)
    assert isinstance(outcome, TypeError)
    assert "none returned kept_indices of torch." in str(outcome)
    assert "give the indices of the tokens kept, whole numbers of shape (k,)" in str(outcome)


def test_a_method_by_name_answers_with_its_defaults(tiny_lm, items):
    audio = items[0].audio
    by_name = tiny_lm.answer(audio, "Where do they meet?", CHOICES, method="late_interaction")
    assert by_name.num_kept_tokens == round(0.8 * len(audio.embeds))
    with pytest.raises(ValueError, match=r"^method is 'speechprun': did you mean speechprune\?"):
        tiny_lm.answer(audio, "Where do they meet?", CHOICES, method="speechprun")
