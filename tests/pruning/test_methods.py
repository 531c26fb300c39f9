"""What every pruning method promises, and what tells each from the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprune.cost import DecoderShape, late_interaction_flops, phase1_flops, phase2_flops
from speechprune.pruning import (
    METHODS,
    TOKEN_SCORES,
    FirstLayerProjections,
    FirstPhase,
    LateInteraction,
    NoPruning,
    PruningInputs,
    PruningResult,
    RandomCrop,
    RandomSegments,
    SecondPhase,
    SpeechPrune,
    Truncate,
)
from speechprune.pruning.late_interaction import WordMatches
from speechprune.pruning.phase1 import first_phase
from speechprune.pruning.phase2 import second_phase_scores
from speechprune.pruning.similarity import best_scores, token_scores
from tests.helpers.frames import frames_of
from tests.helpers.pruning_inputs import make_inputs

EVERY_METHOD = [
    SpeechPrune(phase1_budget=20),
    SpeechPrune(phase1_budget=20, scale="xnor"),
    SpeechPrune(phase1_budget=20, similarity="best", standardise=True, frame_seconds=2),
    FirstPhase(phase1_budget=20),
    FirstPhase(phase1_budget=20, similarity="best", standardise=True, frame_seconds=2),
    SecondPhase(phase1_budget=20),
    SecondPhase(phase1_budget=20, scale="xnor"),
    LateInteraction(phase1_budget=20),
    RandomSegments(phase1_budget=20),
    RandomSegments(phase1_budget=20, segment_tokens=1),
    RandomCrop(phase1_budget=20),
    Truncate(phase1_budget=20),
    NoPruning(phase1_budget=20),
]
RATED_METHODS = [SpeechPrune, FirstPhase, SecondPhase, LateInteraction, RandomSegments, RandomCrop]


def only_what_it_declares(method, inputs):
    """The inputs as the caller makes them: the features that the method needs."""
    return replace(
        inputs, features={feature.name: inputs.features[feature.name] for feature in method.needed_features}
    )


def assert_kept_indices(kept, num_tokens):
    kept = np.asarray(kept)
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()  # ascending, each once
    assert len(kept) == 0 or (kept[0] >= 0 and kept[-1] < num_tokens)


# ------------------------------------------------------------------------------------------------------------
# Every method


def test_no_method_is_left_out_here():
    assert {type(method) for method in EVERY_METHOD} == set(METHODS.values())
    assert all(METHODS[method.name] is type(method) for method in EVERY_METHOD)


@pytest.mark.parametrize("method", EVERY_METHOD, ids=repr)
@pytest.mark.parametrize("num_tokens", [1, 4, 20, 53])
def test_every_budget_is_met_exactly(method, num_tokens):
    inputs = only_what_it_declares(method, make_inputs(num_tokens))
    for num_kept in range(1, num_tokens + 1):
        kept = method.keep(inputs, num_kept).kept_indices
        assert_kept_indices(kept, num_tokens)
        assert len(kept) == num_kept


@pytest.mark.parametrize("method", EVERY_METHOD, ids=repr)
@given(st.integers(1, 53), st.integers(0, 99), st.data())
def test_every_budget_is_met_exactly_over_frames_of_any_size(method, num_tokens, seed, data):
    inputs = make_inputs(num_tokens, seed, frame_starts=data.draw(frames_of(num_tokens)))
    num_kept = data.draw(st.integers(1, num_tokens))
    kept = method.keep(only_what_it_declares(method, inputs), num_kept).kept_indices
    assert_kept_indices(kept, num_tokens)
    assert len(kept) == num_kept


@pytest.mark.parametrize("method_class", [SpeechPrune, FirstPhase])
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99), st.data())
def test_the_floor_keeps_at_most_the_budget(method_class, num_tokens, num_kept, seed, data):
    inputs = make_inputs(num_tokens, seed, frame_starts=data.draw(frames_of(num_tokens)))
    result = method_class(phase1_budget=20, allocation="floor").keep(inputs, num_kept)
    assert_kept_indices(result.kept_indices, num_tokens)
    assert len(result.kept_indices) <= min(num_kept, num_tokens)


@pytest.mark.parametrize("method_class", RATED_METHODS)
@pytest.mark.parametrize("pruning_rate", [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.99])
@pytest.mark.parametrize("num_tokens", [1, 30, 53])
def test_the_rate_refers_to_the_budget_and_not_to_the_recording(method_class, pruning_rate, num_tokens):
    method = method_class(pruning_rate=pruning_rate, phase1_budget=40)
    num_kept = max(1, round((1 - pruning_rate) * min(40, num_tokens)))
    assert method.rate == pruning_rate
    assert method.num_kept(num_tokens) == num_kept
    assert len(method.prune(make_inputs(num_tokens)).kept_indices) == num_kept


def test_the_papers_rates_keep_the_papers_tokens():
    rates = {0.2: 600, 0.4: 450, 0.6: 300, 0.8: 150}
    assert {rate: SpeechPrune(pruning_rate=rate).num_kept(2_200) for rate in rates} == rates
    assert Truncate().num_kept(2_200) == 750
    assert NoPruning().num_kept(2_200) == 2_200
    assert Truncate().rate is None
    assert NoPruning().rate is None


@pytest.mark.parametrize(
    ("setting", "method_class", "value"),
    [
        *(("phase1_budget", method_class, 0) for method_class in METHODS.values()),
        *(("pruning_rate", method_class, 1.0) for method_class in RATED_METHODS),
        *(("pruning_rate", method_class, -0.1) for method_class in RATED_METHODS),
        ("phase1_budget", SpeechPrune, "nativ"),
        ("pruning_rate", SpeechPrune, float("nan")),
        ("allocation", SpeechPrune, "ceil"),
        ("allocation", FirstPhase, None),
        ("similarity", SpeechPrune, "max"),
        ("frame_seconds", FirstPhase, 0),
        ("scale", SpeechPrune, "binary"),
        ("scale", SecondPhase, ""),
        ("segment_tokens", RandomSegments, 0),
    ],
)
def test_an_impossible_setting_is_refused_by_name(setting, method_class, value):
    with pytest.raises(ValueError, match=rf"^{setting} is .*: give "):
        method_class(**{setting: value})


@pytest.mark.parametrize(
    "method",
    [
        FirstPhase(),
        FirstPhase(similarity="best", standardise=True, frame_seconds=8),
        SpeechPrune(),
        SpeechPrune(scale="xnor"),
        SecondPhase(),
        LateInteraction(),
    ],
    ids=repr,
)
def test_no_value_is_read_back_from_a_device(method):
    """On a GPU each read would wait for all queued work. Torch's meta device has no values: a read raises."""
    device, num_tokens, questions = torch.device("meta"), 1_000, range(3)
    projections = FirstLayerProjections(
        query_weight=torch.empty(64, 2_048, dtype=torch.bfloat16, device=device),
        key_weight=torch.empty(32, 2_048, dtype=torch.bfloat16, device=device),
        num_heads=4,
        num_key_value_heads=2,
    )
    audio_embeds = torch.empty(num_tokens, 2_048, dtype=torch.bfloat16, device=device)
    queries = [torch.empty(9, 2_048, dtype=torch.bfloat16, device=device) for _ in questions]
    scores = token_scores(audio_embeds, queries)
    best = best_scores(audio_embeds, queries, [range(9)] * 3)
    inputs = [
        PruningInputs(
            audio_embeds=audio_embeds,
            query_embeds=queries[i],
            projections=projections,
            frame_starts=torch.arange(0, num_tokens + 1, 25, device=device),
            item_id=str(i),
            features={
                "token_scores": scores[i],
                "best_scores": best[i],
                "word_matches": WordMatches(torch.empty(17, 9, device=device), block_tokens=62),
            },
        )
        for i in questions
    ]
    for result in method.prune_all(inputs):
        kept = result.kept_indices
        assert (kept.device, kept.dtype, kept.shape) == (device, torch.int64, (600,))


@pytest.mark.parametrize("method", EVERY_METHOD, ids=repr)
@pytest.mark.parametrize("num_tokens", [1, 30, 53])
def test_questions_pruned_for_together_keep_what_each_alone_keeps(method, num_tokens):
    """More than go into one batch, and any number of tokens left by the floor."""
    alike = make_inputs(num_tokens)
    inputs = [
        replace(make_inputs(num_tokens, seed), audio_embeds=alike.audio_embeds, projections=alike.projections)
        for seed in range(11)
    ]
    methods = [method, replace(method, allocation="floor")] if isinstance(method, FirstPhase) else [method]
    for own in methods:
        for together, one in zip(own.prune_all(inputs), inputs, strict=True):
            alone = own.prune(one)
            np.testing.assert_array_equal(together.kept_indices, alone.kept_indices)
            assert together.num_phase1_tokens == alone.num_phase1_tokens


def test_a_class_that_overrides_keep_alone_is_asked_for_each_question():
    class FirstToken(SpeechPrune):
        def keep(self, inputs, num_kept):
            return PruningResult(super().keep(inputs, num_kept).kept_indices[:1])

    results = FirstToken(phase1_budget=20).prune_all([make_inputs(53), make_inputs(53, seed=1)])
    assert [len(result.kept_indices) for result in results] == [1, 1]


# ------------------------------------------------------------------------------------------------------------
# SpeechPrune and its two phases alone


@given(st.integers(1, 60), st.integers(1, 40), st.floats(0, 0.95), st.integers(0, 99), st.data())
def test_the_second_phase_chooses_among_the_survivors_of_the_first(num_tokens, budget, rate, seed, data):
    inputs = make_inputs(num_tokens, seed, frame_starts=data.draw(frames_of(num_tokens)))
    result = SpeechPrune(pruning_rate=rate, phase1_budget=budget).prune(inputs)
    survivors = first_phase(inputs[TOKEN_SCORES], budget, inputs.frame_starts, "fill")
    assert set(result.kept_indices.tolist()) <= set(survivors.tolist())
    assert result.num_phase1_tokens == len(survivors) == min(budget, num_tokens)


@given(st.integers(1, 60), st.integers(0, 99))
def test_without_a_rate_a_short_recording_stays_whole(num_tokens, seed):
    result = SpeechPrune(pruning_rate=0, phase1_budget=60).prune(make_inputs(num_tokens, seed))
    assert result.kept_indices.tolist() == list(range(num_tokens))


def test_each_phase_alone_reaches_the_same_number_of_tokens():
    inputs = make_inputs(60)
    results = [
        method(pruning_rate=0.5, phase1_budget=30).prune(inputs)
        for method in (SpeechPrune, FirstPhase, SecondPhase)
    ]
    assert [len(result.kept_indices) for result in results] == [15, 15, 15]
    assert [result.num_phase1_tokens for result in results] == [30, 15, None]
    assert len({tuple(result.kept_indices.tolist()) for result in results}) == 3


def test_with_room_for_all_speechprune_is_its_second_phase():
    inputs = make_inputs(60)
    both = SpeechPrune(pruning_rate=0.5, phase1_budget=60).prune(inputs)
    second = SecondPhase(pruning_rate=0.5, phase1_budget=60).prune(inputs)
    np.testing.assert_array_equal(both.kept_indices, second.kept_indices)


def test_where_the_softmax_saturates_the_first_phase_decides():
    """One head over many dimensions gives most survivors an attention of exactly zero."""
    generator = torch.Generator().manual_seed(0)
    audio_embeds = torch.randn(90, 2048, generator=generator)
    weights = torch.randn(2, 64, 2048, generator=generator)
    inputs = replace(
        make_inputs(90),
        audio_embeds=audio_embeds,
        features={"token_scores": torch.randint(0, 3, (90,), generator=generator) / 8},
        projections=FirstLayerProjections(*weights, num_heads=1, num_key_value_heads=1),
    )
    survivors = first_phase(inputs[TOKEN_SCORES], 60, inputs.frame_starts, "fill")
    received = second_phase_scores(audio_embeds[survivors], inputs.projections, "sign")
    assert (received == 0).sum() > 15
    ranked = sorted(
        range(60), key=lambda i: (-received[i], -inputs[TOKEN_SCORES][survivors[i]], survivors[i])
    )
    for num_kept in range(1, 61):
        kept = SpeechPrune(phase1_budget=60).keep(inputs, num_kept).kept_indices
        assert kept.tolist() == sorted(survivors[ranked[:num_kept]].tolist())


def test_flops_are_those_of_the_phases_that_ran():
    shape = DecoderShape(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        vocab_size=100,
    )
    first, second = phase1_flops(shape, 60), phase2_flops(shape, 30)
    assert SpeechPrune(pruning_rate=0.5, phase1_budget=30).flops(shape, 60, 6, 30) == first + second
    assert SpeechPrune(pruning_rate=0, phase1_budget=30).flops(shape, 60, 6, 30) == first
    assert FirstPhase(phase1_budget=30).flops(shape, 60, 6, 24) == first
    assert SecondPhase(phase1_budget=30).flops(shape, 60, 6, None) == phase2_flops(shape, 60)
    words = late_interaction_flops(shape, 60, 6)
    assert LateInteraction(phase1_budget=30).flops(shape, 60, 6, None) == first + words
    for method in (RandomSegments(), RandomCrop(), Truncate(), NoPruning()):
        assert method.flops(shape, 60, 6, None) == 0
