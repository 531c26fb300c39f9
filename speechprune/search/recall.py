"""Recall of a search, compared with chance and with a search in transcripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from speechprune import storage

RECALL_AT = (1, 5, 20)


class TranscriptsError(ValueError):
    """Transcripts that can't be used; one line says why."""


def ranks_of(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Return the ranks of the gold recordings, from 1; of equal scores the earlier recording is first.

    Parameters
    ----------
    scores
        Shape ``(questions, recordings)``.
    gold
        Index of the gold recording of each question.
    """
    own = np.take_along_axis(scores, gold[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None] < gold[:, None]
    ranks: np.ndarray = 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return ranks


def recall(ranks: np.ndarray) -> dict[str, float]:
    """Return recall at k: the share of gold recordings among the first k."""
    return {f"recall_at_{k}": float((ranks <= k).mean()) for k in RECALL_AT}


def recall_of_chance(num_recordings: int) -> dict[str, float]:
    """Return the recall of a random order, k / R."""
    return {f"recall_at_{k}": min(1.0, k / num_recordings) for k in RECALL_AT}


def read_transcripts(uri: str, recordings: Sequence[str]) -> dict[str, str]:
    """Read the transcript of each recording, by address, from a benchmark's ``transcripts.jsonl``.

    Raises
    ------
    TranscriptsError
        The file can't be read, or a recording has no transcript.
    """
    try:
        lines = [json.loads(line) for line in storage.read_text(uri).splitlines() if line.strip()]
        texts = {
            line["recording_id"]: " ".join(
                sentence["text"] for turn in line["turns"] for sentence in turn["sentences"]
            )
            for line in lines
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise TranscriptsError(f"search.transcripts {uri} can't be read ({error})") from error
    names = {recording: PurePosixPath(recording).stem for recording in recordings}
    if missing := [name for name in names.values() if name not in texts]:
        raise TranscriptsError(f"search.transcripts {uri} has no transcript of {missing[0]}")
    return {recording: texts[name] for recording, name in names.items()}


def bag_of_words_scores(queries: Sequence[str], transcripts: Sequence[str]) -> np.ndarray:
    """Return the cosine of tf-idf vectors, ``(questions, recordings)``: a search in text alone."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # an extra: only this comparison needs it

    vectorizer = TfidfVectorizer()
    documents = vectorizer.fit_transform(transcripts)
    scores: np.ndarray = (vectorizer.transform(queries) @ documents.T).toarray()
    return scores


def found_by(ranks: Mapping[str, np.ndarray], num_recordings: int) -> dict[str, dict[str, float]]:
    """Return the recall of each kind of search, and of chance."""
    return {name: recall(some) for name, some in ranks.items()} | {"chance": recall_of_chance(num_recordings)}
