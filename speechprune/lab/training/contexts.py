"""What the LLM reads in its lesson: audio embeddings of a recording, real or simulated, and its questions.

Simulated ones are made from scripts without any sound: the table's embedding of every word, with noise,
confusions and gaps as the encoder would leave them. They are cheap, so the LLM meets many thousand scripts
before it meets the encoder's own embeddings.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from speechprune.benchmarks.builder.grammar import plain_word, subject_words, vocabulary
from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.benchmarks.builder.script import Script
from speechprune.inference.prompts import LETTERS
from speechprune.lab.training.corpus import (
    TOKEN_SECONDS,
    TOKENS_PER_WINDOW,
    WORD_TOKENS,
    plan_recording,
)
from speechprune.lab.training.word_table import NORM

WORD_SECONDS = (0.035, 0.075)  # a letter
BLANK_TOKENS_IN_TURN, BLANK_TOKENS_BETWEEN_TURNS = (3, 11), (6, 20)
CONFUSED_SHARE, LOST_SHARE = 0.04, 0.04  # words heard as another, words not heard
WINDOW_SHARE, THINNED_SHARE = 0.35, 0.4  # of batches of recorded contexts; the others are whole recordings
NOISE = (0.2, 0.8)  # standard deviation over the embedding's norm, of the whole vector

T = TypeVar("T")
DrawContext = Callable[[random.Random, np.random.Generator], "Context"]


@dataclass(frozen=True)
class Asked:
    """A question about a context.

    Parameters
    ----------
    fact_tokens
        Begin and end of the audio tokens of the sentence that says the fact.
    telling_tokens
        Those of its last word that is of the subject or the value: with it, both have been said.
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    fact_tokens: tuple[int, int]
    telling_tokens: tuple[int, int]

    def shuffled(self, rng: random.Random) -> Asked:
        """With the choices in another order."""
        right = self.choices[LETTERS.index(self.answer)]
        choices = rng.sample(self.choices, len(self.choices))
        return replace(self, choices=tuple(choices), answer=LETTERS[choices.index(right)])

    def moved(self, place: Callable[[int], int]) -> Asked:
        """With the tokens at other places of another context."""
        (a, b), (c, d) = self.fact_tokens, self.telling_tokens
        return replace(self, fact_tokens=(place(a), place(b)), telling_tokens=(place(c), place(d)))

    @property
    def answer_text(self) -> str:
        """Text of the right choice."""
        return self.choices[LETTERS.index(self.answer)]


@dataclass(frozen=True)
class Context:
    """One recording as the LLM reads it.

    Parameters
    ----------
    embeds
        Audio embeddings, float32, shape ``(num_tokens, D)``.
    is_blank
        Where no word ends, bool, shape ``(num_tokens,)``.
    asked
        Its questions.
    """

    embeds: np.ndarray
    is_blank: np.ndarray
    asked: tuple[Asked, ...]

    def keep(self, kept: np.ndarray) -> Context:
        """Only some of the tokens (bool mask); questions that no token answers any more are dropped."""
        before = np.concatenate([[0], np.cumsum(kept)])
        moved = [asked.moved(lambda token: int(before[token])) for asked in self.asked]
        asked = tuple(a for a in moved if a.telling_tokens[1] > a.telling_tokens[0])
        return Context(self.embeds[kept], self.is_blank[kept], asked)

    def window(self, first: int, last: int) -> Context:
        """The tokens from `first` to before `last`, and the questions that they answer."""
        inside = tuple(
            asked.moved(lambda token: token - first)
            for asked in self.asked
            if first <= asked.fact_tokens[0] and asked.fact_tokens[1] <= last
        )
        return Context(self.embeds[first:last], self.is_blank[first:last], inside)


def telling_tokens(said: Sequence[tuple[T, tuple[int, int]]], wanted: Sequence[T]) -> tuple[int, int]:
    """Tokens of the last of some words; of the last word at all, should none of them have been heard.

    Parameters
    ----------
    said
        The words of a sentence (or their ids), each with the begin and the end of its tokens.
    wanted
        Subject and value.
    """
    return next((span for word, span in reversed(said) if word in wanted), said[-1][1])


def thin(context: Context, rng: np.random.Generator, blank_share: float, any_share: float) -> Context:
    """Drop about `blank_share` of the blank tokens and `any_share` of all."""
    dropped = context.is_blank & (rng.random(len(context.is_blank)) < blank_share)
    dropped |= rng.random(len(context.is_blank)) < any_share
    return context.keep(~dropped)


class Simulator:
    """Draws scripts that nobody has spoken, and what an encoder of middling quality might hear of them.

    Parameters
    ----------
    table
        Of ``word_table``, ``(V, D)``.
    blank_id
        The row of the blank.
    token_of
        Token id of a word.
    """

    def __init__(self, table: np.ndarray, blank_id: int, token_of: Callable[[str], int]) -> None:
        self.table, self.blank_id = table, blank_id
        self.ids = {word: token_of(word) for word in vocabulary()}
        self.spoken_ids = np.array(list(self.ids.values()))
        self.writer = GrammarWriter()
        self.topics = self.writer.topics()

    def draw(self, share: float, rng: random.Random, generator: np.random.Generator) -> Context:
        """A context: short and dense as the lesson begins (`share` 0), like recordings at its end."""
        seconds = rng.uniform(25, 30 + 65 * min(1.0, 1.6 * share))
        plan = plan_recording(rng, rng.choice(self.topics), seconds, "simulated")
        context = self.hear(self.writer.write(plan), generator)
        return thin(context, generator, generator.uniform(max(0.0, 0.95 - 1.5 * share), 1), 0.0)

    def hear(self, script: Script, rng: np.random.Generator) -> Context:
        """The table's embeddings of the words of a script, with noise, confusions and gaps."""
        labels, words = self._labels(script, rng)
        embeds = self.table[labels]
        sigma = rng.uniform(*NOISE) * NORM / np.sqrt(embeds.shape[1])
        embeds = embeds + rng.normal(0, sigma, embeds.shape)
        embeds *= NORM / np.linalg.norm(embeds, axis=1, keepdims=True)
        asked = []
        for q in script.questions:
            said = words[q.turn, q.sentence]
            value = q.choices[LETTERS.index(q.answer)]
            telling = telling_tokens(said, [*subject_words(q.question), plain_word(value)])
            end = said[-1][1][1]
            asked.append(Asked(q.question, q.choices, q.answer, (said[0][1][0], end), telling))
        return Context(embeds.astype(np.float32), labels == self.blank_id, tuple(asked))

    def _labels(
        self, script: Script, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[tuple[int, int], list[tuple[str, tuple[int, int]]]]]:
        """The word heard at every audio token, or the blank, and the words and tokens of every sentence."""
        ids: list[int] = []
        words: dict[tuple[int, int], list[tuple[str, tuple[int, int]]]] = {}
        blank = self.blank_id
        seconds_a_letter = rng.uniform(*WORD_SECONDS)
        for turn, spoken in enumerate(script.turns):
            ids += [blank] * int(rng.integers(*BLANK_TOKENS_BETWEEN_TURNS))
            for number, sentence in enumerate(spoken.sentences):
                said = words.setdefault((turn, number), [])
                for word in map(plain_word, re.findall(r"[\w']+", sentence)):
                    length = max(1, round(len(word) * seconds_a_letter / TOKEN_SECONDS))
                    said.append((word, (len(ids), len(ids) + length)))
                    heard = rng.random()
                    token_id = self.ids.get(word, blank)  # names of speakers and the like are not in it
                    if heard < LOST_SHARE:
                        token_id = blank
                    elif heard < LOST_SHARE + CONFUSED_SHARE:
                        token_id = int(rng.choice(self.spoken_ids))
                    ids += [blank] * max(0, length - WORD_TOKENS) + [token_id] * min(length, WORD_TOKENS)
                ids += [blank] * int(rng.integers(*BLANK_TOKENS_IN_TURN))
        return np.array(ids), words


class Contexts(Protocol):
    """Contexts by number; a list is one."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, number: int, /) -> Context:
        """One of them."""
        ...


class Recordings:
    """Draws pieces of the corpus as the trained encoder hears them.

    Parameters
    ----------
    contexts
        Every recording of the corpus, whole.
    """

    def __init__(self, contexts: Contexts) -> None:
        self.contexts = contexts

    def choose(self, rng: random.Random) -> DrawContext:
        """How all contexts of a batch are drawn: of one kind, or most of the batch would be padding."""
        kind = rng.random()
        if kind < WINDOW_SHARE:
            return self._window
        return self._thinned if kind < WINDOW_SHARE + THINNED_SHARE else self._whole

    def _window(self, rng: random.Random, generator: np.random.Generator) -> Context:
        """Up to 30 s as they are."""
        del generator
        context = rng.choice(self.contexts)
        length = rng.randrange(TOKENS_PER_WINDOW // 3, TOKENS_PER_WINDOW + 1)
        first = rng.randrange(max(1, len(context.embeds) - length))
        return context.window(first, first + length)

    def _thinned(self, rng: random.Random, generator: np.random.Generator) -> Context:
        """A recording without many of its blanks, perhaps without some of all tokens."""
        any_share = generator.choice([0, rng.uniform(0, 0.4)])
        return thin(rng.choice(self.contexts), generator, generator.uniform(0.2, 1), any_share)

    def _whole(self, rng: random.Random, generator: np.random.Generator) -> Context:
        """A recording as it is."""
        del generator
        return rng.choice(self.contexts)
