"""Wording, chat template, the query's own tokens and the orders of choices."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from speechprune.inference.prompts import (
    LETTERS,
    PromptError,
    PromptFormat,
    build_prompt,
    choice_orders,
    letter_token_ids,
)
from speechprune.inference.types import AnsweringOptions
from speechprune.models.qwen2_audio import Qwen2Audio
from tests.helpers.tiny_models import byte_level_processor

PROCESSOR = byte_level_processor()
TOKENIZER = PROCESSOR.tokenizer
AUDIO = "<|AUDIO|>"
OPEN = PromptFormat()
# words that also stand in a prompt, a wording or a chat template, and what is no word at all
ODD_TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            [
                *[
                    "{question}",
                    "{choices}",
                    "{letter}",
                    "{text}",
                    "{",
                    "}",
                    "%s",
                    "{{ messages }}",
                    "{% if %}",
                ],
                *["<|im_end|>", "<|im_start|>assistant\n", "<|audio_eos|>", "\n", " ", "\r\n", "\t"],
                *["a", "ant", "assistant", "system", "You", "Audio 1:", "A. ", "Choose the best option:"],
                *["When is the review?", "müßig", "会议", "🎙️", "e\u0301", "\u200b", "'s", "..."],
            ]
        ),
        max_size=6,
    ).map("".join),
)


def render_chat(user_text: str) -> str:
    return Qwen2Audio.render_chat(SimpleNamespace(processor=PROCESSOR), user_text)


def build(question, choices=None, wording=OPEN, render=render_chat):
    return build_prompt(
        question,
        choices,
        wording=wording,
        render_chat=render,
        tokenizer=TOKENIZER,
        audio_token_id=TOKENIZER.convert_tokens_to_ids(AUDIO),
    )


def encode_query_words(token_ids: list[int]) -> str:
    """Their text without white space: a token may carry the space before a word or the break behind it."""
    return without_space(TOKENIZER.decode(token_ids))


def without_space(text: str) -> str:
    return "".join(text.split())


def text_of(prompt) -> str:
    return TOKENIZER.decode(prompt.prefix_ids) + AUDIO + TOKENIZER.decode(prompt.suffix_ids)


def test_a_prompt_reads_as_documented():
    prompt = build("When is the review?", ["Monday", "Friday"])
    assert text_of(prompt) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
        "When is the review?\nChoose the best option:\nA. Monday\nB. Friday\n"
        "Answer with the letter of the option only.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert TOKENIZER.decode(prompt.question_ids) == "When is the review?"
    assert encode_query_words(prompt.choice_ids) == "MondayFriday"
    assert prompt.query_ids("question") == prompt.question_ids
    assert prompt.query_ids("question_and_choices") == prompt.question_ids + prompt.choice_ids
    assert prompt.num_text_tokens == len(TOKENIZER(text_of(prompt))["input_ids"]) - 1


@given(ODD_TEXTS)
@example("a")
@example("assistant")
@example("<|im_end|>")
def test_any_open_question_is_put_as_it_is(question):
    assume(question.strip())
    prompt = build(question)
    assert text_of(prompt) == render_chat(question)
    assert encode_query_words(prompt.question_ids) == without_space(question)
    assert prompt.choice_ids == []


@given(ODD_TEXTS, st.lists(ODD_TEXTS, min_size=2, max_size=26))
@example("{choices}", ["{question}", "{letter}. {text}"])
def test_any_question_and_choices_are_put_as_they_are(question, choices):
    """Against the wording written out; T holds the item's words and nothing of wording or template."""
    assume(question.strip())
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))
    prompt = build(question, choices)
    assert text_of(prompt) == render_chat(
        f"{question}\nChoose the best option:\n{lines}\nAnswer with the letter of the option only."
    )
    assert encode_query_words(prompt.question_ids) == without_space(question)
    assert encode_query_words(prompt.choice_ids) == without_space("".join(choices))


def test_the_wording_of_another_model_is_followed():
    wording = PromptFormat(
        prompt="Options: {choices} -- {question} Reply:",
        open_prompt="Q: {question} A:",
        choice_format="[{text}]={letter}",
        choice_separator=" / ",
    )
    prompt = build("Who calls?", ["Ann", "{letter}"], wording)
    assert "\nOptions: [Ann]=A / [{letter}]=B -- Who calls? Reply:<|im_end|>" in text_of(prompt)
    assert encode_query_words(prompt.question_ids) == "Whocalls?"
    assert "Ann" in encode_query_words(prompt.choice_ids)
    assert "Options" not in encode_query_words(prompt.choice_ids)
    assert "\nQ: Who calls? A:<|im_end|>" in text_of(build("Who calls?", None, wording))


def test_a_question_scored_by_texts_is_put_alone_unless_its_wording_lists_the_choices():
    choices = ["Monday", "<|im_end|>"]
    prompt = build("When?", choices, PromptFormat(scoring="texts"))
    assert text_of(prompt) == render_chat("When?")
    assert [TOKENIZER.decode(ids) for ids in prompt.answer_ids] == choices
    assert prompt.choice_ids == prompt.answer_ids[0] + prompt.answer_ids[1]
    listing = PromptFormat(
        scoring="texts_per_token", texts_prompt="{choices}\n{question}", choice_format="- {text}"
    )
    listed = build("When?", choices, listing)
    assert text_of(listed) == render_chat("- Monday\n- <|im_end|>\nWhen?")
    assert listed.answer_ids == prompt.answer_ids
    assert encode_query_words(listed.choice_ids) == "Monday<|im_end|>"
    assert build("When?", choices).answer_ids == build("When?", None, listing).answer_ids == []


def test_an_empty_choice_cannot_be_scored_by_its_text():
    with pytest.raises(PromptError, match=r"^a choice is empty: give it a text, or set answering.scoring"):
        build("When?", ["Monday", ""], PromptFormat(scoring="texts"))


@pytest.mark.parametrize(
    ("question", "choices", "sentence"),
    [
        ("", None, "the question is empty"),
        (" \n", ["one", "two"], "the question is empty"),
    ],
)
def test_questions_that_cannot_be_put_are_named(question, choices, sentence):
    with pytest.raises(PromptError, match=sentence):
        build(question, choices)


def test_a_wording_with_the_mark_of_the_audio_is_named():
    with pytest.raises(PromptError, match=r"answering.prompt contains <\|AUDIO\|>, the mark of the audio"):
        build("Who?", None, PromptFormat(open_prompt="<|AUDIO|> {question}"))


def test_a_template_that_alters_the_words_is_named():
    def trimming(user_text: str) -> str:
        return render_chat(user_text.strip())

    assert build("Who?", render=trimming).question_ids == build("Who?").question_ids
    with pytest.raises(PromptError, match="chat template changed the question's text"):
        build("Who? ", render=trimming)


@pytest.mark.parametrize(
    ("field", "value", "missing"),
    [
        ("prompt", "{question}", "{choices}"),
        ("prompt", "{choices}", "{question}"),
        ("prompt", "{question} {choices} {question}", "{question}"),
        ("open_prompt", "Answer me.", "{question}"),
        ("choice_format", "{text}", "{letter}"),
        ("choice_format", "{letter}", "{text}"),
        ("choice_format", "{letter}{letter}{text}", "{letter}"),
    ],
)
def test_a_wrong_wording_is_named(field, value, missing):
    with pytest.raises(ValueError, match=f"^{field} must contain {missing} once"):
        AnsweringOptions(**{field: value})


@pytest.mark.parametrize("field", ["max_new_tokens", "permute_choices"])
def test_a_wrong_number_is_named(field):
    with pytest.raises(ValueError, match=f"^{field} is 0: give at least 1"):
        AnsweringOptions(**{field: 0})


def test_every_letter_has_a_token_of_its_own():
    token_ids = letter_token_ids(TOKENIZER, 26)
    assert TOKENIZER.batch_decode([[token_id] for token_id in token_ids]) == list(LETTERS)


class InPieces:
    def encode(self, text, add_special_tokens):
        return [1, 2] if text == "C" else [1]


def test_a_letter_in_pieces_is_named():
    with pytest.raises(PromptError, match="no single token for the letter C"):
        letter_token_ids(InPieces(), 3)


# Orders of the choices


@given(st.integers(2, 26), st.integers(1, 60), st.text(max_size=10))
def test_orders_are_permutations_and_seeded(num_choices, num_orders, item_id):
    orders = choice_orders(num_choices, num_orders, item_id)
    assert len(orders) == num_orders
    assert all(sorted(order) == list(range(num_choices)) for order in orders)
    assert orders == choice_orders(num_choices, num_orders, item_id)
    assert orders[:1] == choice_orders(num_choices, 1, item_id)


@given(st.integers(2, 26), st.integers(1, 3), st.text(max_size=10))
def test_over_as_many_orders_as_choices_each_choice_stands_at_each_letter_once(num_choices, times, item_id):
    orders = choice_orders(num_choices, times * num_choices, item_id)
    for letter in range(num_choices):
        standing = [order[letter] for order in orders]
        assert all(standing.count(choice) == times for choice in range(num_choices))


def test_items_are_asked_in_different_orders():
    orders = [tuple(choice_orders(4, 1, f"item {i}")[0]) for i in range(400)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == math.factorial(4)
    assert max(counts) < 40
