"""What can't be answered fails alone; what doesn't fit into memory is halved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechprune import (
    Answer,
    NoPruning,
    SpeechLM,
    SpeechPrune,
)
from speechprune.audio import SAMPLE_RATE, AudioTooShort
from speechprune.inference import prompt_batches
from speechprune.inference.answer import answer_items
from speechprune.inference.prompts import PromptError
from tests.helpers.asked import OPTIONS, SMALL, answered, ask
from tests.helpers.tiny_models import load_tiny_model


@pytest.fixture
def out_of_memory(monkeypatch):
    """Make a step of the model fail as a GPU does, on batches for which ``too_large`` holds."""

    def limit(lm: SpeechLM, name: str, too_large) -> list[int]:
        owner = prompt_batches if name == "generate" else lm.model
        original, sizes = getattr(owner, name), []

        def limited(*args):
            batch = args[1] if name == "generate" else args[0]
            sizes.append(len(batch))
            if too_large(batch):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return original(*args)

        monkeypatch.setattr(owner, name, limited)
        return sizes

    return limit


def test_a_prompt_beyond_the_models_context_fails_alone(tiny_lm, items):
    """65 s and 40 s are 1,625 and 1,000 tokens: over this limit, and under it."""
    limited = load_tiny_model(tiny_lm.model.name)
    limited.model.language_model = replace(limited.model.language_model, max_prompt_tokens=1_200)
    outcomes = answer_items(limited.model, items, NoPruning(), OPTIONS)
    for item, outcome in zip(items, outcomes, strict=True):
        if len(item.audio.embeds) > 1_200:
            assert isinstance(outcome, PromptError)
            assert "exceeds the 1,200 that the model takes: prune to fewer tokens" in str(outcome)
        else:
            assert isinstance(outcome, Answer)
    assert sum(isinstance(outcome, PromptError) for outcome in outcomes) == 3


def test_the_context_limit_is_the_models(tiny_lm):
    assert tiny_lm.model.language_model.max_prompt_tokens == 4_096


@pytest.mark.parametrize(
    "bad", [{"question": ""}, {"question": "Who? " * 5_000}, {"question": "broken \ud800 text"}]
)
def test_a_question_that_cannot_be_put_fails_alone(tiny_lm, items, bad):
    expected = answered(tiny_lm, items)
    asked = list(items)
    asked[1] = replace(items[1], **bad)
    outcomes = answer_items(tiny_lm.model, asked, SpeechPrune(**SMALL), OPTIONS)
    assert isinstance(outcomes[1], Exception)
    for i, outcome in enumerate(outcomes):
        if i != 1:
            assert outcome.prediction == expected[i].prediction


def test_no_items_no_answers(tiny_lm):
    assert answer_items(tiny_lm.model, [], SpeechPrune(), OPTIONS) == []
    assert tiny_lm.encode_many([]) == []


@pytest.mark.parametrize("name", ["next_token_logits", "generate"])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(tiny_lm, items, out_of_memory, name):
    expected = answered(tiny_lm, items)
    sizes = out_of_memory(tiny_lm, name, lambda prompts: len(prompts) > 2)
    answers = answered(tiny_lm, items)
    assert max(sizes) > 2
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer.kept_indices, other.kept_indices)
        assert answer.prediction == other.prediction


@pytest.mark.parametrize("name", ["next_token_logits", "generate"])
def test_an_item_that_never_fits_fails_alone(tiny_lm, items, out_of_memory, name):
    """Unpruned prompts of 12, 40 and 65 s share batches; those of 65 s don't fit even alone."""
    expected = answered(tiny_lm, items, NoPruning())
    out_of_memory(tiny_lm, name, lambda prompts: max(len(prompt.token_ids) for prompt in prompts) > 1_500)
    outcomes = answer_items(tiny_lm.model, items, NoPruning(), OPTIONS)
    for i, (item, outcome) in enumerate(zip(items, outcomes, strict=True)):
        is_asked_so = (name == "generate") == (item.choices is None)
        if i >= 6 and is_asked_so:
            assert isinstance(outcome, torch.cuda.OutOfMemoryError)
        else:
            assert outcome.prediction == expected[i].prediction


def test_a_recording_that_cannot_be_pruned_fails_alone(tiny_lm, items, monkeypatch):
    def keep_all(self, inputs, num_kept):
        if inputs[0].num_tokens == 1_000:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, inputs, num_kept)

    original = SpeechPrune.keep_all
    monkeypatch.setattr(SpeechPrune, "keep_all", keep_all)
    outcomes = answer_items(tiny_lm.model, items, SpeechPrune(**SMALL), OPTIONS)
    failed = [isinstance(outcome, torch.cuda.OutOfMemoryError) for outcome in outcomes]
    assert failed == [False] * 3 + [True] * 3 + [False] * 3


def test_encoder_batches_that_do_not_fit_are_halved(tiny_model_folder, recordings, out_of_memory):
    lm = load_tiny_model(tiny_model_folder, encoder_batch_size=4)
    expected = lm.encode_many(recordings)
    sizes = out_of_memory(lm, "encode_windows", lambda windows: len(windows) > 2)
    for audio, other in zip(lm.encode_many(recordings), expected, strict=True):
        torch.testing.assert_close(audio.embeds, other.embeds, atol=1e-5, rtol=1e-5)
    assert max(sizes) == 4
    out_of_memory(lm, "encode_windows", lambda windows: True)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        lm.encode_many(recordings)


@pytest.mark.parametrize(("num_samples", "num_tokens"), [(320, 0), (321, 1), (30 * SAMPLE_RATE + 160, 750)])
def test_what_is_too_short_for_a_token_is_named_or_dropped(tiny_lm, speech, num_samples, num_tokens):
    samples = speech(num_samples / SAMPLE_RATE)
    if num_tokens == 0:
        with pytest.raises(AudioTooShort, match=r"^20 ms of sound are less than one audio token"):
            tiny_lm.encode_many([samples])
        return
    (audio,) = tiny_lm.encode_many([samples])
    assert audio.embeds.shape == (num_tokens, 64)
    assert isinstance(answer_items(tiny_lm.model, ask([audio]), SpeechPrune(), OPTIONS)[0], Answer)
