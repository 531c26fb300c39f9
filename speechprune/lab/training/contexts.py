"""Training input of the LLM: audio embeddings of a recording, real or simulated, and its questions.

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
CONFUSED_SHARE, LOST_SHARE = 0.04, 0.04  # words replaced by another, words dropped
WINDOW_SHARE, THINNED_SHARE = 0.35, 0.4  # of batches of recorded contexts; the others are whole recordings
NOISE = (0.2, 0.8)  # standard deviation over the embedding's norm, of the whole vector

T = TypeVar("T")
DrawContext = Callable[[random.Random, np.random.Generator], "Context"]


@dataclass(frozen=True)
class ContextQuestion:
    """A question about a context.

    Parameters
    ----------
    fact_tokens
        Start and end of the audio tokens of the sentence with the fact.
    evidence_tokens
        Those of its last word that belongs to the subject or the value: up to it, both have been spoken.
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    fact_tokens: tuple[int, int]
    evidence_tokens: tuple[int, int]

    def shuffled(self, rng: random.Random) -> ContextQuestion:
        """Return the question with its choices in another order."""
        right = self.choices[LETTERS.index(self.answer)]
        choices = rng.sample(self.choices, len(self.choices))
        return replace(self, choices=tuple(choices), answer=LETTERS[choices.index(right)])

    def moved(self, place: Callable[[int], int]) -> ContextQuestion:
        """Return the question with its token positions mapped to another context."""
        (a, b), (c, d) = self.fact_tokens, self.evidence_tokens
        return replace(self, fact_tokens=(place(a), place(b)), evidence_tokens=(place(c), place(d)))

    @property
    def answer_text(self) -> str:
        """Text of the right choice."""
        return self.choices[LETTERS.index(self.answer)]


@dataclass(frozen=True)
class Context:
    """One recording as input of the LLM.

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
    asked: tuple[ContextQuestion, ...]

    def keep(self, kept: np.ndarray) -> Context:
        """Keep some of the tokens (bool mask), and the questions that still have an evidence token."""
        before = np.concatenate([[0], np.cumsum(kept)])
        moved = [asked.moved(lambda token: int(before[token])) for asked in self.asked]
        asked = tuple(a for a in moved if a.evidence_tokens[1] > a.evidence_tokens[0])
        return Context(self.embeds[kept], self.is_blank[kept], asked)

    def window(self, first: int, last: int) -> Context:
        """Return the tokens from `first` to before `last`, and the questions that they answer."""
        inside = tuple(
            asked.moved(lambda token: token - first)
            for asked in self.asked
            if first <= asked.fact_tokens[0] and asked.fact_tokens[1] <= last
        )
        return Context(self.embeds[first:last], self.is_blank[first:last], inside)


def evidence_tokens(timed_words: Sequence[tuple[T, tuple[int, int]]], wanted: Sequence[T]) -> tuple[int, int]:
    """Return the tokens of the last wanted word, or of the last word where none of them occurs.

    Parameters
    ----------
    timed_words
        The words of a sentence (or their ids), each with the start and the end of its tokens.
    wanted
        Subject and value.
    """
    return next((span for word, span in reversed(timed_words) if word in wanted), timed_words[-1][1])


def thin(context: Context, rng: np.random.Generator, blank_share: float, any_share: float) -> Context:
    """Drop about `blank_share` of the blank tokens and `any_share` of all."""
    dropped = context.is_blank & (rng.random(len(context.is_blank)) < blank_share)
    dropped |= rng.random(len(context.is_blank)) < any_share
    return context.keep(~dropped)


class Simulator:
    """Draws scripts, and simulates the output of an encoder of medium quality for them.

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
        """Draw a context: short and dense at the stage's start (`share` 0), like recordings at its end."""
        seconds = rng.uniform(25, 30 + 65 * min(1.0, 1.6 * share))
        plan = plan_recording(rng, rng.choice(self.topics), seconds, "simulated")
        context = self.simulate(self.writer.write(plan), generator)
        return thin(context, generator, generator.uniform(max(0.0, 0.95 - 1.5 * share), 1), 0.0)

    def simulate(self, script: Script, rng: np.random.Generator) -> Context:
        """Return the table's embeddings of a script's words, with noise, confusions and gaps."""
        labels, words = self._labels(script, rng)
        embeds = self.table[labels]
        sigma = rng.uniform(*NOISE) * NORM / np.sqrt(embeds.shape[1])
        embeds = embeds + rng.normal(0, sigma, embeds.shape)
        embeds *= NORM / np.linalg.norm(embeds, axis=1, keepdims=True)
        asked = []
        for q in script.questions:
            timed_words = words[q.turn, q.sentence]
            value = q.choices[LETTERS.index(q.answer)]
            evidence = evidence_tokens(timed_words, [*subject_words(q.question), plain_word(value)])
            end = timed_words[-1][1][1]
            asked.append(
                ContextQuestion(q.question, q.choices, q.answer, (timed_words[0][1][0], end), evidence)
            )
        return Context(embeds.astype(np.float32), labels == self.blank_id, tuple(asked))

    def _labels(
        self, script: Script, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[tuple[int, int], list[tuple[str, tuple[int, int]]]]]:
        """Return the word (or blank) decoded at every audio token, and words and tokens of every sentence."""
        ids: list[int] = []
        words: dict[tuple[int, int], list[tuple[str, tuple[int, int]]]] = {}
        blank = self.blank_id
        seconds_a_letter = rng.uniform(*WORD_SECONDS)
        for turn, spoken in enumerate(script.turns):
            ids += [blank] * int(rng.integers(*BLANK_TOKENS_BETWEEN_TURNS))
            for number, sentence in enumerate(spoken.sentences):
                timed_words = words.setdefault((turn, number), [])
                for word in map(plain_word, re.findall(r"[\w']+", sentence)):
                    length = max(1, round(len(word) * seconds_a_letter / TOKEN_SECONDS))
                    timed_words.append((word, (len(ids), len(ids) + length)))
                    chance = rng.random()
                    token_id = self.ids.get(word, blank)  # names of speakers and the like are not in it
                    if chance < LOST_SHARE:
                        token_id = blank
                    elif chance < LOST_SHARE + CONFUSED_SHARE:
                        token_id = int(rng.choice(self.spoken_ids))
                    ids += [blank] * max(0, length - WORD_TOKENS) + [token_id] * min(length, WORD_TOKENS)
                ids += [blank] * int(rng.integers(*BLANK_TOKENS_IN_TURN))
        return np.array(ids), words


class Contexts(Protocol):
    """A sequence of contexts, such as a list."""

    def __len__(self) -> int:
        """Number of contexts."""
        ...

    def __getitem__(self, number: int, /) -> Context:
        """One context."""
        ...


class Recordings:
    """Draws pieces of the corpus, encoded by the trained encoder.

    Parameters
    ----------
    contexts
        Every recording of the corpus, whole.
    """

    def __init__(self, contexts: Contexts) -> None:
        self.contexts = contexts

    def choose(self, rng: random.Random) -> DrawContext:
        """Choose one kind of context for a whole batch: mixed kinds would be mostly padding."""
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
