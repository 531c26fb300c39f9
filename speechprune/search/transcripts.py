"""Search for a question's words in the transcripts that a cascade's index holds, by BM25.

A recording scores as high as the best of its windows: in an hour many windows have some of the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from loguru import logger
from scipy.stats import rankdata

from speechprune.data.index_files import Part
from speechprune.inference.states import load_times, load_token_ids
from speechprune.models.loading import load_transcript_tokenizer
from speechprune.models.options import ModelOptions
from speechprune.pipeline.executor import Executor
from speechprune.search.index_pass import in_blocks, read_block
from speechprune.search.scan import Match, Span

RANK_OFFSET = 60  # of reciprocal rank fusion, as its authors chose it


@dataclass(frozen=True)
class Passage:
    """Text of a window, with its seconds."""

    start: float
    end: float
    text: str


def search_transcripts(
    executor: Executor, stored: Mapping[str, Sequence[Part]], queries: Sequence[str], span: Span
) -> tuple[np.ndarray, dict[str, list[tuple[Match, ...]]]]:
    """Score recordings for queries by BM25.

    Returns
    -------
    tuple
        Scores, ``(queries, recordings)`` in the order of ``stored``, -inf without a word of the query; and of
        each recording the best window for each query, none without a word of it.
    """
    reading = [executor.submit(read_passages, block, executor.model, span) for block in in_blocks(stored)]
    passages: dict[str, list[Passage]] = {}
    for handle in reading:
        found, unreadable = executor.get(handle)
        passages |= found
        for uri, sentence in unreadable.items():
            logger.warning("{}: its transcript can't be read ({}); index it again", uri, sentence)
    places = [(number, passage) for number, uri in enumerate(stored) for passage in passages.get(uri, [])]
    every = bm25([passage.text for _, passage in places], queries)
    scores = np.full((len(queries), len(stored)), -np.inf)
    matches: dict[str, list[tuple[Match, ...]]] = {uri: [() for _ in queries] for uri in stored}
    uris = list(stored)
    for query, own in enumerate(every):
        for place in np.flatnonzero(own):
            number, passage = places[place]
            if own[place] > scores[query, number]:
                scores[query, number] = own[place]
                matches[uris[number]][query] = (Match(passage.start, passage.end, float(own[place])),)
    return scores, matches


def read_passages(
    block: Mapping[str, Sequence[Part]], model: ModelOptions, span: Span
) -> tuple[dict[str, list[Passage]], dict[str, str]]:
    """Read the text of the windows of some recordings, of tokens that overlap a span."""
    tokenizer = load_transcript_tokenizer(model)

    def read(windows: Iterable[dict[str, Any]]) -> list[Passage]:
        passages = []
        for window in windows:
            times = load_times(window)
            inside = (times[:, 1] > span[0]) & (times[:, 0] < span[1])
            token_ids = load_token_ids([window])
            if token_ids is not None and inside.any():
                text = tokenizer.decode(token_ids[inside])
                passages.append(Passage(float(times[inside][0, 0]), float(times[inside][-1, 1]), text))
        return passages

    return read_block(block, read, span)


def bm25(texts: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """Return the BM25 scores of texts, float32, ``(queries, texts)``; no word is left out as too common."""
    import bm25s  # an extra

    def words(some: Sequence[str]) -> list[list[str]]:
        split: list[list[str]] = bm25s.tokenize(
            list(some), stopwords=[], return_ids=False, show_progress=False
        )
        return split

    documents = words(texts)
    if not any(documents):
        return np.zeros((len(queries), len(texts)), np.float32)
    index = bm25s.BM25()
    index.index(documents, show_progress=False)
    return np.array([index.get_scores(query) for query in words(queries)], np.float32)


def fuse(*scores: np.ndarray) -> np.ndarray:
    """Reciprocal rank fusion, Σ 1 / (60 + rank): https://doi.org/10.1145/1571941.1572114.

    - ``scores``: each ``(questions, recordings)``; of equal ones all have the best rank.
    """
    fused: np.ndarray = sum(1 / (RANK_OFFSET + rankdata(-some, method="min", axis=1)) for some in scores)
    return fused
