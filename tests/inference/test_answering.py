"""The straight line on a tiny model: the same answers in any company, true costs, evidence."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprune import (
    Answer,
    AnsweringOptions,
    FirstPhase,
    NoPruning,
    RandomCrop,
    SpeechPrune,
)
from speechprune.audio import SAMPLE_RATE
from speechprune.cost import decode_flops, encode_flops, prefill_flops
from speechprune.inference import prompt_batches
from speechprune.inference.answer import answer_items
from speechprune.inference.evidence import NUM_EVIDENCE_SECONDS, find_evidence
from speechprune.inference.prompts import choice_orders
from speechprune.inference.types import Item
from speechprune.pruning import METHODS
from tests.helpers.asked import CHOICES, OPTIONS, SMALL, answered, ask, method_of
from tests.helpers.frames import frames_of
from tests.helpers.tiny_models import load_tiny_model


@pytest.fixture(scope="module")
def items_encoded_alone(tiny_lm, recordings) -> list[Item]:
    return ask([tiny_lm.encode_many([samples])[0] for samples in recordings])


# The same in any company


@pytest.mark.parametrize("name", METHODS)
def test_kept_tokens_do_not_depend_on_company_or_order(tiny_lm, items, items_encoded_alone, name):
    """Each item as if asked alone about a recording encoded alone, to the last index."""
    method = method_of(name)
    together = answered(tiny_lm, items, method)
    backwards = answered(tiny_lm, items[::-1], method)[::-1]
    for i, item in enumerate(items_encoded_alone):
        (alone,) = answered(tiny_lm, [item], method)
        for other in (together[i], backwards[i]):
            np.testing.assert_array_equal(other.kept_indices, alone.kept_indices)
            assert other.prediction == alone.prediction
            assert other.evidence == alone.evidence
        kept = alone.kept_indices
        assert kept.dtype == np.int64
        assert np.all(np.diff(kept) > 0)
        assert kept[0] >= 0
        assert kept[-1] < alone.num_audio_tokens
        assert len(kept) == method.num_kept(alone.num_audio_tokens)


@pytest.mark.parametrize("encoder_batch_size", [1, 2, 5])
def test_embeddings_do_not_depend_on_company(tiny_model_folder, recordings, encoder_batch_size):
    """Windows of one recording, of several, in another order: bit for bit, at any batch size."""
    lm = load_tiny_model(tiny_model_folder, encoder_batch_size=encoder_batch_size)
    together = lm.encode_many(recordings)
    backwards = lm.encode_many(recordings[::-1])[::-1]
    for i, samples in enumerate(recordings):
        (alone,) = lm.encode_many([samples])
        assert torch.equal(alone.embeds, together[i].embeds)
        assert torch.equal(alone.embeds, backwards[i].embeds)


def test_the_kept_tokens_are_the_same_at_every_batch_size(tiny_lm, tiny_model_folder, recordings, items):
    one_by_one = load_tiny_model(tiny_model_folder, encoder_batch_size=1, prefill_batch_tokens=1)
    expected = answered(tiny_lm, items)
    for ours, theirs in zip(
        answered(one_by_one, ask(one_by_one.encode_many(recordings))), expected, strict=True
    ):
        np.testing.assert_array_equal(ours.kept_indices, theirs.kept_indices)
        assert ours.prediction == theirs.prediction


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_answers_as_float32_does(tiny_lm, tiny_model_folder, recordings, dtype):
    """Rounding flips near ties, which random weights have more of than trained ones: most items agree."""
    half = load_tiny_model(tiny_model_folder, dtype=dtype)
    audios = half.encode_many(recordings)
    assert {audio.embeds.dtype for audio in audios} == {getattr(torch, dtype)}
    exact = answered(tiny_lm, ask(tiny_lm.encode_many(recordings), open_questions=False))
    rounded = answered(half, ask(audios, open_questions=False))
    agreeing = [a.prediction == b.prediction for a, b in zip(exact, rounded, strict=True)]
    assert sum(agreeing) >= 0.75 * len(agreeing)
    differences = []
    for a, b in zip(exact, rounded, strict=True):
        assert len(a.kept_indices) == len(b.kept_indices)
        assert len(np.intersect1d(a.kept_indices, b.kept_indices)) > 0.8 * len(a.kept_indices)
        differences.append(np.abs(np.subtract(a.choice_probabilities, b.choice_probabilities)).max())
    assert np.mean(differences) < 0.08


# Choices


def test_a_liking_for_a_letter_cancels_out(tiny_lm, items, monkeypatch):
    """A model that answers B whatever it is asked: over as many orders as choices it says nothing."""
    letter_b = tiny_lm.model.tokenizer.convert_tokens_to_ids("B")

    def always_b(prompts):
        logits = torch.zeros(len(prompts), tiny_lm.model.shape.decoder.vocab_size)
        logits[:, letter_b] = 4.0
        return logits

    monkeypatch.setattr(tiny_lm.model, "next_token_logits", always_b)
    item = items[0]
    (once,) = answered(tiny_lm, [item])
    assert once.prediction == "B"
    assert once.choice_probabilities[1] > 0.9
    (permuted,) = answered(tiny_lm, [item], options=AnsweringOptions(permute_choices=len(CHOICES)))
    assert permuted.choice_probabilities == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("num_orders", [2, 4, 5])
def test_permuted_choices_are_the_mean_of_asking_in_those_orders(tiny_lm, items, num_orders):
    """Against asking each order as an item of its own and putting the letters back by hand."""
    item = items[3]
    options = AnsweringOptions(permute_choices=num_orders)
    (permuted,) = answered(tiny_lm, [item], NoPruning(), options)
    of_choice: dict[str, list[float]] = {text: [] for text in CHOICES}
    for order in choice_orders(4, num_orders, item.item_id):
        texts = tuple(CHOICES[i] for i in order)
        (asked,) = answered(tiny_lm, [replace(item, choices=texts)], NoPruning())
        for text, probability in zip(texts, asked.choice_probabilities, strict=True):
            of_choice[text].append(probability)
    expected = [np.mean(of_choice[text]) for text in CHOICES]
    assert permuted.choice_probabilities == pytest.approx(expected, abs=1e-5)
    assert permuted.prediction_text == CHOICES[int(np.argmax(expected))]
    (once,) = answered(tiny_lm, [item], NoPruning())
    assert permuted.cost.tflops_prefill == pytest.approx(num_orders * once.cost.tflops_prefill, rel=0.01)


def test_choices_words_are_listened_for_unless_told_otherwise(tiny_lm, items):
    """T with and without the choices keeps other tokens; without, choices don't matter."""
    item, method = items[3], FirstPhase(**SMALL)
    others = replace(item, choices=("a quiet violin", "thunder"))
    question_only = AnsweringOptions(query_text="question")
    kept = [
        answered(tiny_lm, [asked], method, options)[0].kept_indices.tolist()
        for asked, options in itertools.product([item, others], [OPTIONS, question_only])
    ]
    assert kept[0] != kept[2]
    assert kept[1] == kept[3]
    assert kept[0] != kept[1]


# Costs


@pytest.mark.parametrize(("encoder_batch_size", "num_windows"), [(1, 6), (2, 8), (4, 8)])
def test_encoding_is_shared_out_so_that_sums_over_rows_are_true(
    tiny_model_folder, recordings, encoder_batch_size, num_windows
):
    """3 full and 3 short windows, each kind filled up to whole batches; one item fails and bears nothing."""
    lm = load_tiny_model(tiny_model_folder, encoder_batch_size=encoder_batch_size)
    audios = lm.encode_many(recordings)
    asked = ask(audios)
    asked[4] = replace(asked[4], question=" ")
    outcomes = answer_items(lm.model, asked, SpeechPrune(**SMALL), OPTIONS)
    assert [type(outcome).__name__ for outcome in outcomes].count("PromptError") == 1
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    total = sum(answer.cost.tflops_encode for answer in answers)
    assert total == pytest.approx(encode_flops(lm.model.shape, num_windows) / 1e12)
    assert sum(answer.seconds_encode for answer in answers) == pytest.approx(
        sum(audio.seconds_encode for audio in audios)
    )


def test_tokens_and_flops_are_those_of_the_prompts_that_ran(tiny_lm, items, monkeypatch):
    lengths: dict[str, list[int]] = {"next_token_logits": [], "generate": []}
    for name, seen in lengths.items():
        owner = prompt_batches if name == "generate" else tiny_lm.model
        original = getattr(owner, name)

        def noting(*args, name=name, original=original, seen=seen):
            prompts = args[1] if name == "generate" else args[0]
            seen += [len(prompt.token_ids) for prompt in prompts]
            assert all(len(prompt.embeds) == len(prompt.token_ids) for prompt in prompts)
            return original(*args)

        monkeypatch.setattr(owner, name, noting)
    answers = answered(tiny_lm, items)
    by_kind = {"next_token_logits": [], "generate": []}
    for item, answer in zip(items, answers, strict=True):
        num_tokens = answer.num_kept_tokens + answer.num_text_tokens
        by_kind["next_token_logits" if item.choices else "generate"].append(num_tokens)
        rest = prefill_flops(tiny_lm.model.shape.decoder, num_tokens) + decode_flops(
            tiny_lm.model.shape.decoder, num_tokens, answer.num_generated_tokens
        )
        cost = answer.cost
        assert cost.tflops_total == pytest.approx(cost.tflops_encode + cost.tflops_prune + rest / 1e12)
        assert cost.tflops_prune > 0
        assert answer.num_phase1_tokens == 200
        assert answer.num_kept_tokens == 160
        assert (answer.num_generated_tokens > 0) == (item.choices is None)
    assert {name: sorted(seen) for name, seen in lengths.items()} == {
        name: sorted(expected) for name, expected in by_kind.items()
    }


def test_measured_seconds_and_memory_are_there(tiny_lm, items):
    for item, answer in zip(items, answered(tiny_lm, items), strict=True):
        assert answer.seconds_encode > 0
        assert answer.seconds_prune > 0
        assert answer.seconds_prefill > 0
        assert (answer.seconds_generate > 0) == (item.choices is None)
        assert answer.peak_memory_bytes > 1e6


# Evidence


@given(
    num_tokens=st.integers(1, 400),
    token_rate=st.sampled_from([1, 12.5, 25]),
    num_kept=st.integers(1, 400),
    seed=st.integers(0, 10_000),
    start=st.floats(0, 3_600),
    data=st.data(),
)
def test_evidence_is_the_best_frames_that_survived(num_tokens, token_rate, num_kept, seed, start, data):
    """Against a plain loop over frames, of equal size or not."""
    frame_starts = data.draw(frames_of(num_tokens))
    generator = np.random.default_rng(seed)
    scores = generator.integers(-5, 6, num_tokens) / 8  # exact sums, and ties
    kept = np.sort(generator.choice(num_tokens, min(num_kept, num_tokens), replace=False))
    begins = start + np.arange(num_tokens) / token_rate
    times = np.stack([begins, begins + 1 / token_rate], axis=1)

    spans = find_evidence(scores, kept, times, frame_starts)

    frames = {}
    for begin, end in itertools.pairwise(frame_starts.tolist()):
        if any(i in kept for i in range(begin, end)):
            frames[begin, end] = sum(scores[begin:end])
    best = sorted(frames, key=lambda frame: (-frames[frame], frame))[:NUM_EVIDENCE_SECONDS]
    tokens_named = {i for frame in best for i in range(*frame)}
    tokens_in_spans = [
        {i for i in range(num_tokens) if span.start <= times[i].mean() <= span.end} for span in spans
    ]
    assert set().union(*tokens_in_spans) == tokens_named
    assert sum(len(tokens) for tokens in tokens_in_spans) == len(tokens_named)
    assert [span.score for span in spans] == sorted((span.score for span in spans), reverse=True)
    for span, other in itertools.combinations(spans, 2):
        assert span.end < other.start or other.end < span.start  # neighbours are one span


def test_neighbouring_frames_are_two_spans_where_silence_was_left_out_between_them():
    begins = np.array([0.0, 1.0, 2.0, 600.0, 601.0])
    times = np.stack([begins, begins + 1], axis=1)
    spans = find_evidence(np.array([1.0, 3.0, 3.0, 2.0, 2.0]), np.arange(1, 5), times, np.arange(6))
    assert [(span.start, span.end) for span in spans] == [(1.0, 3.0), (600.0, 602.0)]


def test_evidence_lies_in_the_recording_and_counts_from_the_files_beginning(tiny_lm, recordings):
    samples = recordings[2]
    here, later = tiny_lm.encode_many([samples, samples], [0.0, 600.5])
    (answer,), (shifted,) = (answered(tiny_lm, ask([audio])[:1]) for audio in (here, later))
    assert 1 <= len(answer.evidence) <= NUM_EVIDENCE_SECONDS
    for span, moved in zip(answer.evidence, shifted.evidence, strict=True):
        assert 0 <= span.start < span.end <= len(samples) / SAMPLE_RATE + 1 / tiny_lm.model.shape.token_rate
        assert (moved.start, moved.end) == pytest.approx((span.start + 600.5, span.end + 600.5))
        assert moved.score == span.score
        survivors = here.times[answer.kept_indices]
        assert np.any((survivors[:, 0] >= span.start) & (survivors[:, 1] <= span.end + 1e-9))


def test_methods_that_do_not_listen_name_no_evidence(tiny_lm, items):
    assert answered(tiny_lm, items[:1], RandomCrop(**SMALL))[0].evidence == []
