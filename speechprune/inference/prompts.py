"""From a question and its choices to token ids around the place where the audio goes."""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from speechprune.inference.chat_tokens import MARK, PromptError, tokenize_answer, tokenize_chat

if TYPE_CHECKING:
    from speechprune.models.base import SpeechModel

LETTERS = string.ascii_uppercase
MAX_CHOICES = len(LETTERS)

QueryText = Literal["question_and_choices", "question"]
Scoring = Literal["letters", "texts", "texts_per_token"]


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """The wording of a question, for models that were trained on another.

    Parameters
    ----------
    scoring
        What of a choice is scored: ``letters``, its letter as the next token; ``texts``, its text as the
        model's answer, by the sum of its tokens' log probabilities; ``texts_per_token``, by their mean,
        which does not favour short texts. For models that understand questions but not letters.
    prompt
        A multiple-choice question scored by letters: ``{question}`` and ``{choices}`` are filled in.
    texts_prompt
        A multiple-choice question scored by texts: ``{question}`` is filled in, and ``{choices}`` where it
        lists them; by default it does not, as is usual where texts are scored.
    open_prompt
        A question without choices: ``{question}`` is filled in.
    choice_format
        One choice where they are listed: ``{letter}`` and ``{text}`` are filled in; scored by texts it may do
        without the letter.
    choice_separator
        What stands between choices.
    """

    scoring: Scoring = "letters"
    prompt: str = "{question}\nChoose the best option:\n{choices}\nAnswer with the letter of the option only."
    texts_prompt: str = "{question}"
    open_prompt: str = "{question}"
    choice_format: str = "{letter}. {text}"
    choice_separator: str = "\n"

    def __post_init__(self) -> None:
        for name, needed in (
            ("prompt", ("{question}", "{choices}")),
            ("texts_prompt", ("{question}",)),
            ("open_prompt", ("{question}",)),
            ("choice_format", ("{text}",) if self.by_texts else ("{letter}", "{text}")),
        ):
            for field in needed:
                if getattr(self, name).count(field) != 1:
                    raise ValueError(f"{name} must contain {field} once; it is {getattr(self, name)!r}")
        if self.texts_prompt.count("{choices}") > 1:
            raise ValueError(f"texts_prompt may contain {{choices}} once; it is {self.texts_prompt!r}")

    @property
    def by_texts(self) -> bool:
        """Whether choices are scored by their texts."""
        return self.scoring != "letters"


@dataclass(frozen=True)
class Prompt:
    """Token ids before and after the audio, and which of them are the query's own words."""

    # prefix_ids, suffix_ids: the chat up to the audio, and from behind it to where the model's answer begins
    prefix_ids: list[int]
    suffix_ids: list[int]
    # question_ids, choice_ids: the tokens of T, taken where they stand in the prompt: the question's, the
    # choices' texts; of choices that the prompt doesn't list, those of ``answer_ids``
    question_ids: list[int]
    choice_ids: list[int]
    answer_ids: list[list[int]]  # each choice's text as the model's answer; empty unless these are scored

    @property
    def num_text_tokens(self) -> int:
        """All tokens but the audio's."""
        return len(self.prefix_ids) + len(self.suffix_ids)

    @property
    def num_answer_tokens(self) -> int:
        """The most tokens that run behind the prompt: of the longest choice scored by its text."""
        return max((len(ids) - 1 for ids in self.answer_ids), default=0)

    def query_ids(self, query_text: QueryText) -> list[int]:
        """Token ids of T."""
        return self.question_ids if query_text == "question" else self.question_ids + self.choice_ids


def prompt_of(
    model: SpeechModel, question: str, choices: Sequence[str] | None, wording: PromptFormat
) -> Prompt:
    """Word the question in a model's own chat template, see ``build_prompt``."""
    return build_prompt(
        question,
        choices,
        wording=wording,
        render_chat=model.render_chat,
        tokenizer=model.tokenizer,
        audio_token_id=model.language_model.audio_token_id,
    )


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
        The question, or a choice whose text is scored, is empty, the template alters the question, or a
        control token can't be taken for text.
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

    answer_ids = []
    if choices is not None and wording.by_texts:
        words = sorted(spans)
        answer_ids = [
            tokenize_answer(tokenizer, chat, words, tokens, text, audio_token_id) for text in choices
        ]
        if not all(answer_ids):
            raise PromptError("a choice is empty: give it a text, or set answering.scoring=letters")
    listed = [tokens_of(span) for span in spans[1:]]
    return Prompt(
        prefix_ids=token_ids[:place],
        suffix_ids=token_ids[place + 1 :],
        question_ids=tokens_of(spans[0]),
        choice_ids=list(itertools.chain.from_iterable(listed or answer_ids)),
        answer_ids=answer_ids,
    )


def _word(
    question: str, choices: Sequence[str] | None, wording: PromptFormat
) -> tuple[str, list[tuple[int, int]]]:
    """The user's text, and the character spans in it of the question and of each listed choice's text."""
    values = {"{question}": question}
    choice_spans: list[tuple[int, int]] = []
    if choices is None:
        rest = wording.open_prompt
    else:
        rest = wording.texts_prompt if wording.by_texts else wording.prompt
        if "{choices}" in rest:
            values["{choices}"], choice_spans = _list_choices(choices, wording)
    text, begins = "", {}
    for place in sorted(values, key=rest.index):
        head, rest = rest.split(place, 1)
        text += head
        begins[place] = len(text)
        text += values[place]
    text += rest
    spans = [(begins["{question}"], begins["{question}"] + len(question))]
    origin = begins.get("{choices}", 0)
    return text, spans + [(origin + begin, origin + end) for begin, end in choice_spans]


def _list_choices(choices: Sequence[str], wording: PromptFormat) -> tuple[str, list[tuple[int, int]]]:
    """The choices one behind the other, and the character spans of their texts."""
    listed = ""
    spans = []
    for letter, text in zip(LETTERS, choices, strict=False):
        if listed:
            listed += wording.choice_separator
        head, tail = wording.choice_format.split("{text}")
        head, tail = head.replace("{letter}", letter), tail.replace("{letter}", letter)
        begin = len(listed) + len(head)
        spans.append((begin, begin + len(text)))
        listed += head + text + tail
    return listed, spans


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
