"""The corpus as the LLM reads it: every recording as the trained encoder hears it, with its questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.nn import functional

from speechprune.benchmarks.builder.grammar import subject_words
from speechprune.inference.prompts import LETTERS
from speechprune.lab.training.contexts import Asked, Context, telling_tokens
from speechprune.lab.training.corpus import BLANK, TOKEN_SECONDS, Corpus
from speechprune.lab.training.encoder import EncoderLesson, embed_windows


class RecordedContexts:
    """Every recording of the corpus as the encoder hears it; listened to when it is first asked for."""

    def __init__(self, encoder: EncoderLesson, corpus: Corpus, token_of: Callable[[str], int]) -> None:
        self._encoder, self._corpus, self._token_of = encoder, corpus, token_of
        self._heard: dict[int, Context] = {}

    def __len__(self) -> int:
        return len(self._corpus.questions)

    def __getitem__(self, number: int) -> Context:
        if number not in self._heard:
            self._heard[number] = self._hear(number)
        return self._heard[number]

    def _hear(self, number: int) -> Context:
        corpus, encoder = self._corpus, self._encoder
        windows = slice(corpus.first_window[number], corpus.first_window[number + 1])
        length = corpus.num_tokens[number]
        embeds = embed_windows(encoder, corpus.features[windows]).flatten(0, 1)[:length]
        nearest = (functional.normalize(embeds, dim=-1) @ encoder.directions.T).argmax(-1)
        labels = corpus.word_labels[windows].reshape(-1)[:length]
        return Context(
            embeds.cpu().numpy(),
            (nearest == encoder.blank_id).cpu().numpy(),
            tuple(_asked(question, labels, self._token_of) for question in corpus.questions[number]),
        )


def _asked(question: dict[str, Any], labels: np.ndarray, token_of: Callable[[str], int]) -> Asked:
    """A question of the corpus, with the audio tokens of its fact and of the word that tells it."""
    start, end = question["span"]
    first, last = int(start / TOKEN_SECONDS), min(len(labels), int(np.ceil(end / TOKEN_SECONDS)))
    value = question["choices"][LETTERS.index(question["answer"])]
    wanted = [token_of(word) for word in (*subject_words(question["question"]), value)]
    return Asked(
        question["question"],
        tuple(question["choices"]),
        question["answer"],
        (first, last),
        telling_tokens(_words_said(labels, first, last), wanted),
    )


def _words_said(labels: np.ndarray, first: int, last: int) -> list[tuple[int, tuple[int, int]]]:
    """Token id, begin and end of every run of one label in a part of a recording."""
    edges = first + 1 + np.flatnonzero(np.diff(labels[first:last]))
    begins, ends = [first, *edges.tolist()], [*edges.tolist(), last]
    return [
        (int(labels[begin]), (begin, end))
        for begin, end in zip(begins, ends, strict=True)
        if labels[begin] != BLANK
    ]
