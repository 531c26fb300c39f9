"""The corpus as input of the LLM: the trained encoder's embeddings of every recording, with its questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.nn import functional

from speechprune.benchmarks.builder.grammar import subject_words
from speechprune.inference.prompts import LETTERS
from speechprune.lab.training.contexts import Context, ContextQuestion, evidence_tokens
from speechprune.lab.training.corpus import BLANK, TOKEN_SECONDS, Corpus
from speechprune.lab.training.encoder import EncoderObjective, embed_windows


class RecordedContexts:
    """Contexts of every recording of the corpus, encoded at first use."""

    def __init__(self, encoder: EncoderObjective, corpus: Corpus, token_of: Callable[[str], int]) -> None:
        self._encoder, self._corpus, self._token_of = encoder, corpus, token_of
        self._encoded: dict[int, Context] = {}

    def __len__(self) -> int:
        return len(self._corpus.questions)

    def __getitem__(self, number: int) -> Context:
        if number not in self._encoded:
            self._encoded[number] = self._encode(number)
        return self._encoded[number]

    def _encode(self, number: int) -> Context:
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


def _asked(question: dict[str, Any], labels: np.ndarray, token_of: Callable[[str], int]) -> ContextQuestion:
    """Return a question of the corpus with the audio tokens of its fact and of the fact's deciding word."""
    start, end = question["span"]
    first, last = int(start / TOKEN_SECONDS), min(len(labels), int(np.ceil(end / TOKEN_SECONDS)))
    value = question["choices"][LETTERS.index(question["answer"])]
    wanted = [token_of(word) for word in (*subject_words(question["question"]), value)]
    return ContextQuestion(
        question["question"],
        tuple(question["choices"]),
        question["answer"],
        (first, last),
        evidence_tokens(_timed_words(labels, first, last), wanted),
    )


def _timed_words(labels: np.ndarray, first: int, last: int) -> list[tuple[int, tuple[int, int]]]:
    """Return token id, start and end of every run of one label in a part of a recording."""
    edges = first + 1 + np.flatnonzero(np.diff(labels[first:last]))
    begins, ends = [first, *edges.tolist()], [*edges.tolist(), last]
    return [
        (int(labels[begin]), (begin, end))
        for begin, end in zip(begins, ends, strict=True)
        if labels[begin] != BLANK
    ]
