"""Ranking of the recordings of an index for each question, in passes over its search index or its states."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune.config import ConfigError
from speechprune.data.formats import counted
from speechprune.data.index_files import Part
from speechprune.inference.types import AnsweringOptions
from speechprune.models.base import SpeechModel
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import load_in_worker
from speechprune.pipeline.executor import Executor
from speechprune.search.approximate import SearchIndex, approximate_pass
from speechprune.search.config import SearchOptions
from speechprune.search.index_pass import search_pass
from speechprune.search.scan import Score
from speechprune.search.transcripts import fuse, search_transcripts
from speechprune.search.words import QueryWords, encode_query_words

Asked = tuple[str, list[str] | None]  # a question and its choices
# words of the questions of each pass, and f
EncodeWords = Callable[[list[list[Asked]]], tuple[list[QueryWords], float]]


@dataclass(frozen=True)
class Ranking:
    """All scores of a search."""

    recordings: list[str]  # addresses, in order
    scores: list[list[Score]]  # of each recording, one a question
    seconds: float  # of all passes
    num_bytes: int  # that all passes read
    num_requests: int  # for lists of the search index
    is_exact: bool  # whether all states were read: else what is no candidate has ``NOT_SCORED``
    kinds: dict[str, np.ndarray]  # scores by name, ``(questions, recordings)``: the last ones rank

    @property
    def best(self) -> np.ndarray:
        """Scores that rank."""
        return list(self.kinds.values())[-1]


def rank_recordings(
    executor: Executor,
    search: SearchOptions,
    answering: AnsweringOptions,
    stored: Mapping[str, Sequence[Part]],
    codes: SearchIndex | None,
    questions: pa.Table,
    part_bytes: float,
    encode: EncodeWords,
) -> Ranking:
    """Score every recording for every question: by late interaction, by its words in transcripts, or by both.

    - ``part_bytes``: mean size of a part of a recording.

    Raises
    ------
    ConfigError
        No recording can be read.
    """
    rows = questions.select(["question", "choices"]).to_pylist()
    kinds: dict[str, np.ndarray] = {}
    seconds, num_bytes, num_requests, is_exact = 0.0, 0.0, 0, True
    scores: dict[str, list[Score]] = {uri: [] for uri in stored}
    if search.words != "only":
        pairs = [(row["question"], row["choices"]) for row in rows]
        size = search.questions_per_pass
        passes = [pairs[i : i + size] for i in range(0, len(pairs), size)]
        words, token_rate = encode(passes)
        start = time.perf_counter()
        scores, num_bytes, num_requests = _late_interaction(
            executor, search, stored, codes, words, token_rate, part_bytes
        )
        seconds, is_exact = time.perf_counter() - start, codes is None
        if is_exact:  # of candidates alone it would be that of recordings that late interaction found
            kinds["similarity"] = _matrix(scores, "similarity")
        kinds["late_interaction"] = _matrix(scores, "late_interaction")
    if search.words != "off":
        start = time.perf_counter()
        queries = [query_text(row, answering) for row in rows]
        read = {uri: stored[uri] for uri in scores}
        kinds["words"], matches = search_transcripts(executor, read, queries, search.span)
        seconds += time.perf_counter() - start
        num_bytes += part_bytes * sum(map(len, read.values()))
        if search.words == "hybrid":
            kinds["fused"] = fuse(kinds["late_interaction"], kinds["words"])
        else:
            scores = {
                uri: [
                    Score(one, np.nan, own)
                    for one, own in zip(kinds["words"][:, place], matches[uri], strict=True)
                ]
                for place, uri in enumerate(scores)
            }
    return Ranking(
        list(scores), list(scores.values()), seconds, round(num_bytes), num_requests, is_exact, kinds
    )


def query_text(row: Mapping[str, Any], answering: AnsweringOptions) -> str:
    """Return a question, with its choices where ``answering.query_text`` includes them."""
    choices = row["choices"] if answering.query_text == "question_and_choices" else None
    return " ".join([row["question"], *(choices or [])])


def _matrix(scores: Mapping[str, Sequence[Score]], name: str) -> np.ndarray:
    """One kind of score, ``(questions, recordings)``."""
    return np.array([[getattr(one, name) for one in some] for some in scores.values()]).T


def _late_interaction(
    executor: Executor,
    search: SearchOptions,
    stored: Mapping[str, Sequence[Part]],
    codes: SearchIndex | None,
    words: Sequence[QueryWords],
    token_rate: float,
    part_bytes: float,
) -> tuple[dict[str, list[Score]], float, int]:
    """Score recordings in one pass over the index per element of ``words``; returns also the bytes read,
    and the number of requests for lists of the search index.
    """
    num_parts = sum(map(len, stored.values()))
    num_bytes, num_requests = 0.0, 0
    scores: dict[str, list[Score]] = {uri: [] for uri in stored}
    for number, some in enumerate(words, start=1):
        if codes is None:
            found, unreadable = search_pass(executor, stored, some, token_rate, search.span)
            num_bytes += part_bytes * num_parts
        else:
            num_candidates = max(search.num_candidates, search.num_listed)
            found, unreadable, read = approximate_pass(executor, codes, some, token_rate, num_candidates)
            num_bytes += read.num_bytes + part_bytes * read.num_shards
            num_requests += read.num_requests
        for uri, sentence in unreadable.items():
            logger.warning("{} is left out: its windows can't be read ({}); index it again", uri, sentence)
        scores = {uri: [*scores[uri], *found[uri]] for uri in scores if uri in found}
        logger.info("pass {:,} of {:,}: {} scored", number, len(words), counted(len(found), "recording"))
    if not scores:
        raise ConfigError(f"search.index {search.index}: none of its windows can be read: index the archive")
    return scores, num_bytes, num_requests


def encode_on_worker(
    executor: Executor, options: AnsweringOptions, passes: list[list[Asked]]
) -> tuple[list[QueryWords], float]:
    """Encode the words on a worker, as only they need a model."""
    loading = executor.submit(_load_and_encode, executor.model, options, passes, with_model=True)
    words: tuple[list[QueryWords], float] = executor.get(loading)
    return words


def _load_and_encode(
    model: ModelOptions, options: AnsweringOptions, passes: list[list[Asked]]
) -> tuple[list[QueryWords], float]:
    return encode_words(load_in_worker(model, num_threads=None), options, passes)


def encode_words(
    model: SpeechModel, options: AnsweringOptions, passes: list[list[Asked]]
) -> tuple[list[QueryWords], float]:
    """Encode the words of each pass with a loaded model; returns also f."""
    return [encode_query_words(model, questions, options) for questions in passes], model.shape.token_rate
