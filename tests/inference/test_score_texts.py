"""Choices scored by their texts: the likelihoods of a family's own forward, in any company; their cost."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speechprune import Answer, AnsweringOptions, NoPruning, SpeechLM, SpeechPrune
from speechprune.cost import paper_prefill_flops, prefill_flops, texts_flops
from speechprune.inference import score_texts as score_texts_module
from speechprune.inference.answer import answer_items
from speechprune.inference.no_audio import answer_without_audio
from speechprune.inference.prompts import LETTERS, PromptError
from tests.helpers.asked import SMALL, answered, ask
from tests.helpers.tiny_models import load_countable, load_tiny_model

TOLERANCE = 1e-4
TEXTS, PER_TOKEN = AnsweringOptions(scoring="texts"), AnsweringOptions(scoring="texts_per_token")
CALIBRATED = replace(TEXTS, calibrate=True)
SECONDS = [5.0, 12.0, 44.0]
QUESTIONS = ["Where do they meet?", "Who speaks?", "Where is the red notebook that was mentioned?"]
CHOICES = [("In the garden", "No"), ("Anna", "Bert", "the man at the desk"), ("A", "B", "<|im_end|>", "\nC")]


@pytest.fixture(scope="module")
def lm(kit, folder) -> SpeechLM:
    return load_tiny_model(folder, family=kit.family)


@pytest.fixture(scope="module")
def sounds(speech) -> list[np.ndarray]:
    return [speech(seconds, start=30 * i) for i, seconds in enumerate(SECONDS)]


@pytest.fixture(scope="module")
def asked(lm, sounds) -> list[tuple]:
    return list(zip(lm.encode_many(sounds), QUESTIONS, CHOICES, strict=True))


@pytest.fixture(scope="module")
def expected(kit, lm, sounds) -> list[list[torch.Tensor]]:
    """Log probabilities of each choice's tokens behind the bare question, one by one."""
    oracle, tokenizer = kit.oracle(lm.model), lm.model.tokenizer
    return [
        [
            oracle.log_probabilities(
                samples,
                question,
                tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True),
            )
            for text in choices
        ]
        for samples, question, choices in zip(sounds, QUESTIONS, CHOICES, strict=True)
    ]


@pytest.mark.parametrize(("options", "of_tokens"), [(TEXTS, torch.sum), (PER_TOKEN, torch.mean)])
def test_probabilities_are_the_softmax_of_the_familys_own_likelihoods(
    lm, asked, expected, options, of_tokens
):
    answers = lm.answer_many(asked, method=NoPruning(), options=options)
    for answer, own, choices in zip(answers, expected, CHOICES, strict=True):
        scores = torch.stack([of_tokens(tokens) for tokens in own])
        assert answer.choice_probabilities == pytest.approx(scores.softmax(0).tolist(), abs=TOLERANCE)
        assert answer.prediction == LETTERS[int(scores.argmax())]
        assert answer.prediction_text == choices[int(scores.argmax())]
        assert answer.num_generated_tokens == 0


def test_calibrated_probabilities_are_those_with_audio_over_those_without(lm, asked):
    answers, plain = (
        lm.answer_many(asked, method=NoPruning(), options=options) for options in (CALIBRATED, TEXTS)
    )
    without = answer_without_audio(lm.model, list(zip(QUESTIONS, CHOICES, strict=True)), CALIBRATED)
    for answer, one, other in zip(answers, plain, without, strict=True):
        ratios = np.divide(one.choice_probabilities, other.choice_probabilities)
        assert answer.choice_probabilities == pytest.approx(ratios / ratios.sum(), abs=TOLERANCE)
        assert answer.seconds_prefill > 0


def test_without_audio_it_is_the_likelihood_behind_the_bare_prompt(lm):
    answers = answer_without_audio(lm.model, [(QUESTIONS[0], CHOICES[0])], TEXTS)
    model = lm.model
    placeholder = model.tokenizer.decode([model.language_model.audio_token_id])
    head, tail = model.render_chat(QUESTIONS[0]).split(placeholder)
    scores = []
    for text in CHOICES[0]:
        ids = model.tokenizer.encode(text, add_special_tokens=False)
        prompt = [
            id_ for part in (head, tail) for id_ in model.tokenizer.encode(part, add_special_tokens=False)
        ]
        with torch.inference_mode():
            states = model.language_model.decoder(inputs_embeds=model.embed_tokens(prompt + ids)[None])
            table = model.language_model.head(states.last_hidden_state[0]).log_softmax(-1)
        scores.append(sum(table[len(prompt) - 1 + i, id_].item() for i, id_ in enumerate(ids)))
    assert answers[0].choice_probabilities == pytest.approx(
        torch.tensor(scores).softmax(0).tolist(), abs=TOLERANCE
    )


def test_the_same_in_any_company(kit, folder, lm, asked):
    """Two of the questions have prompts of one length, if not of as many choices."""
    questions = [*asked, (asked[0][0], QUESTIONS[0], CHOICES[1]), asked[2]]
    options = replace(CALIBRATED, scoring="texts_per_token")
    together, backwards = (
        lm.answer_many(some, method=SpeechPrune(**SMALL), options=options)
        for some in (questions, questions[::-1])
    )
    alone = load_tiny_model(folder, family=kit.family, prefill_batch_tokens=1)
    for answer, other, question in zip(together, backwards[::-1], questions, strict=True):
        single = alone.answer(*question, method=SpeechPrune(**SMALL), options=options)
        for one in (other, single):
            assert one.choice_probabilities == pytest.approx(answer.choice_probabilities, abs=1e-5)
            np.testing.assert_array_equal(one.kept_indices, answer.kept_indices)
            assert one.cost.tflops_prefill == answer.cost.tflops_prefill


# Cost


@pytest.mark.parametrize("calibrate", [False, True])
def test_the_cost_is_what_torch_counts(kit, folder, sounds, calibrate):
    """Of choices of one length, which need no padding, with attention that torch counts."""
    model, choices = load_countable(folder, family=kit.family), ("Monday", "Sunday", "Friday")
    lm = SpeechLM(model)
    lengths = [len(model.tokenizer.encode(text, add_special_tokens=False)) for text in choices]
    (audio,) = lm.encode_many(sounds[1:2])
    options = replace(TEXTS, calibrate=calibrate)
    with FlopCounterMode(display=False) as counter:
        answer = lm.answer(audio, QUESTIONS[0], choices, method=NoPruning(), options=options)
    shape, num_text = model.shape.decoder, answer.num_text_tokens
    prompts = [answer.num_kept_tokens + num_text] + [num_text] * calibrate
    actual = sum(prefill_flops(shape, n) + texts_flops(shape, n, lengths) for n in prompts)
    assert (answer.cost.tflops_total - answer.cost.tflops_encode) * 1e12 == pytest.approx(actual)
    fed = [length - 1 for length in lengths]
    paper = sum(paper_prefill_flops(shape, n + sum(fed)) for n in prompts)
    assert answer.cost.tflops_prefill * 1e12 == pytest.approx(paper)
    assert len(set(lengths)) == 1
    assert actual == pytest.approx(counter.get_total_flops(), rel=0.01)


# Batches


def test_a_batch_holds_a_prompt_as_often_as_it_has_choices(tiny_lm, items, monkeypatch):
    seen = []
    original = score_texts_module.text_log_probabilities

    def noting(model, prompts, texts):
        width = max(len(prompt.token_ids) for prompt in prompts) + max(len(t) for own in texts for t in own)
        seen.append((len(prompts), sum(map(len, texts)) * (width - 1)))
        return original(model, prompts, texts)

    monkeypatch.setattr(score_texts_module, "text_log_probabilities", noting)
    monkeypatch.setattr(tiny_lm.model, "prefill_batch_tokens", 2_500)
    answered(tiny_lm, items, options=TEXTS)
    assert sum(number for number, _ in seen) == 6
    assert max(number for number, _ in seen) > 1
    assert all(number == 1 or held <= 2_500 for number, held in seen)


def test_a_batch_that_does_not_fit_is_halved_and_an_item_that_never_fits_fails_alone(
    tiny_lm, items, monkeypatch
):
    expected = answered(tiny_lm, items, options=TEXTS)
    original = score_texts_module.text_log_probabilities

    def limited(model, prompts, texts):
        if len(prompts) > 2 or len(texts[0]) == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(model, prompts, texts)

    monkeypatch.setattr(score_texts_module, "text_log_probabilities", limited)
    outcomes = answer_items(tiny_lm.model, items, SpeechPrune(**SMALL), CALIBRATED)
    for item, outcome, other in zip(items, outcomes, expected, strict=True):
        if item.choices and len(item.choices) == 3:
            assert isinstance(outcome, torch.cuda.OutOfMemoryError)
        else:
            assert isinstance(outcome, Answer)
            np.testing.assert_array_equal(outcome.kept_indices, other.kept_indices)


def test_choices_count_towards_the_models_context(tiny_lm, audios):
    item = replace(ask(audios[:1])[0], choices=("no", "word " * 5_000))
    (outcome,) = answer_items(tiny_lm.model, [item], SpeechPrune(**SMALL), TEXTS)
    assert isinstance(outcome, PromptError)
    assert "exceeds the 4,096 that the model takes" in str(outcome)
    (by_letters,) = answer_items(tiny_lm.model, [item], SpeechPrune(**SMALL), AnsweringOptions())
    assert isinstance(by_letters, PromptError)  # there they are listed


# Settings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"scoring": "texts", "permute_choices": 4},
            "permute_choices is 4, but with scoring=texts",
        ),
        (
            {"scoring": "texts_per_token", "permuted_check": True},
            "permuted_check is True, but with scoring",
        ),
        ({"calibrate": True}, "calibrate is true, but only likelihoods of texts are calibrated"),
        ({"scoring": "texts", "texts_prompt": "Say it."}, "texts_prompt must contain {question} once"),
        ({"texts_prompt": "{question}{choices}{choices}"}, "texts_prompt may contain {choices} once"),
        ({"scoring": "texts", "choice_format": "{letter}"}, "choice_format must contain {text} once"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings, sentence):
    with pytest.raises(ValueError, match="^" + sentence.replace("{", r"\{").replace("}", r"\}")):
        AnsweringOptions(**settings)
