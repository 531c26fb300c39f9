"""From a question and its choices to token ids around the place where the audio goes."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from speechprune.inference.chat_tokens import MARK, PromptError, tokenize_chat

LETTERS = string.ascii_uppercase
MAX_CHOICES = len(LETTERS)

QueryText = Literal["question_and_choices", "question"]


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """The wording of a question, for models that were trained on another.

    Parameters
    ----------
    prompt
        A multiple-choice question: ``{question}`` and ``{choices}`` are filled in.
    open_prompt
        A question without choices: ``{question}`` is filled in.
    choice_format
        One choice: ``{letter}`` and ``{text}`` are filled in.
    choice_separator
        What stands between choices.
    """

    prompt: str = "{question}\nChoose the best option:\n{choices}\nAnswer with the letter of the option only."
    open_prompt: str = "{question}"
    choice_format: str = "{letter}. {text}"
    choice_separator: str = "\n"

    def __post_init__(self) -> None:
        for name, needed in (
            ("prompt", ("{question}", "{choices}")),
            ("open_prompt", ("{question}",)),
            ("choice_format", ("{letter}", "{text}")),
        ):
            for field in needed:
                if getattr(self, name).count(field) != 1:
                    raise ValueError(f"{name} must contain {field} once; it is {getattr(self, name)!r}")


@dataclass(frozen=True)
class Prompt:
    """Token ids before and after the audio, and which of them are the query's own words."""

    # prefix_ids, suffix_ids: the chat up to the audio, and from behind it to where the model's answer begins
    prefix_ids: list[int]
    suffix_ids: list[int]
    # question_ids, choice_ids: the tokens of T, taken where they stand in the prompt: the question's, the
    # choices' texts
    question_ids: list[int]
    choice_ids: list[int]

    @property
    def num_text_tokens(self) -> int:
        """All tokens but the audio's."""
        return len(self.prefix_ids) + len(self.suffix_ids)

    def query_ids(self, query_text: QueryText) -> list[int]:
        """Token ids of T."""
        return self.question_ids if query_text == "question" else self.question_ids + self.choice_ids


def build_prompt(
    question: str,
    choices: Sequence[str] | None,
    *,
    wording: PromptFormat,
    render_chat: Callable[[str], str],
    tokenizer: Any,
    audio_token_id: int,
) -> Prompt:
    """Word the question, wrap it in the model's chat template, and cut it where the audio goes.

    Parameters
    ----------
    question, choices
        The item; without choices the question is open-ended.
    wording
        How it is put.
    render_chat
        The model's template: user text to the whole chat with one audio placeholder.
    tokenizer
        A fast tokenizer (character offsets are needed to find the query's own tokens).
    audio_token_id
        The placeholder's id.

    Raises
    ------
    PromptError
        The question is empty, the template alters it, or a control token in it can't be taken for text.
    """
    if not question.strip():
        raise PromptError("the question is empty: write one")
    user_text, spans = _word(question, choices, wording)
    head, tail = render_chat(MARK).split(MARK)
    chat = head + user_text + tail
    if render_chat(user_text) != chat:
        raise PromptError(
            "the chat template changed the question's text: set answering.prompt without edge spaces"
        )
    spans = [(len(head) + begin, len(head) + end) for begin, end in spans]
    tokens = tokenize_chat(tokenizer, chat, sorted(spans), audio_token_id)
    token_ids = [token.token_id for token in tokens]
    if token_ids.count(audio_token_id) != 1:
        raise PromptError(
            f"answering.prompt contains {tokenizer.decode([audio_token_id])}, the mark of the audio"
        )
    place = token_ids.index(audio_token_id)

    def tokens_of(span: tuple[int, int]) -> list[int]:
        begin, end = span
        return [token.token_id for token in tokens if token.begin < end and token.end > begin]

    return Prompt(
        prefix_ids=token_ids[:place],
        suffix_ids=token_ids[place + 1 :],
        question_ids=tokens_of(spans[0]),
        choice_ids=[token_id for span in spans[1:] for token_id in tokens_of(span)],
    )


def _word(
    question: str, choices: Sequence[str] | None, wording: PromptFormat
) -> tuple[str, list[tuple[int, int]]]:
    """The user's text, and the character spans in it of the question and of each choice's text."""
    if choices is None:
        head, tail = wording.open_prompt.split("{question}")
        return head + question + tail, [(len(head), len(head) + len(question))]
    choices_text = ""
    choice_spans = []
    for letter, text in zip(LETTERS, choices, strict=False):
        if choices_text:
            choices_text += wording.choice_separator
        head, tail = wording.choice_format.split("{text}")
        head, tail = head.replace("{letter}", letter), tail.replace("{letter}", letter)
        begin = len(choices_text) + len(head)
        choice_spans.append((begin, begin + len(text)))
        choices_text += head + text + tail
    values = {"{question}": question, "{choices}": choices_text}
    places = sorted(values, key=wording.prompt.index)
    text, begins, rest = "", {}, wording.prompt
    for place in places:
        head, rest = rest.split(place, 1)
        text += head
        begins[place] = len(text)
        text += values[place]
    text += rest
    origin = begins["{choices}"]
    spans = [(begins["{question}"], begins["{question}"] + len(question))]
    return text, spans + [(origin + begin, origin + end) for begin, end in choice_spans]


@lru_cache(maxsize=64)
def letter_token_ids(tokenizer: Any, num_choices: int) -> tuple[int, ...]:
    """The token of each choice's letter.

    Raises
    ------
    PromptError
        A letter is not a single token of this tokenizer.
    """
    token_ids = []
    for letter in LETTERS[:num_choices]:
        ids = tokenizer.encode(letter, add_special_tokens=False)
        if len(ids) != 1:
            raise PromptError(f"the tokenizer has no single token for the letter {letter}")
        token_ids.append(ids[0])
    return tuple(token_ids)


def choice_orders(num_choices: int, num_orders: int, item_id: str) -> list[list[int]]:
    """Seeded orders of the choices: rotations of a random order, then of another.

    Over as many orders as there are choices, each choice has stood at each letter exactly once, so
    a liking for a letter cancels out.

    Entry j of an order is the choice that stands at letter j.
    """
    generator = random.Random(f"choice order of {item_id}")
    orders: list[list[int]] = []
    while len(orders) < num_orders:
        order = generator.sample(range(num_choices), num_choices)
        orders += [order[i:] + order[:i] for i in range(num_choices)]
    return orders[:num_orders]


def moved_order(num_choices: int, item_id: str) -> list[int]:
    """A seeded rotation in which every choice stands at another letter than in the order given."""
    shift = random.Random(f"moved order of {item_id}").randrange(1, num_choices)
    return [*range(shift, num_choices), *range(shift)]
