"""How often a search finds a question's recording, beside chance and a search in transcripts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from scipy.sparse import csr_array

from speechprune import storage

RECALL_AT = (1, 5, 20)
WORD = re.compile(r"\b\w\w+\b")  # two letters at least, in lower case


class TranscriptsError(ValueError):
    """Transcripts that can't be used; one line says why."""


def ranks_of(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Places of the gold recordings, from 1; of equal scores the earlier recording is first.

    Parameters
    ----------
    scores
        Shape ``(questions, recordings)``.
    gold
        Number of the recording of each question.
    """
    own = np.take_along_axis(scores, gold[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None] < gold[:, None]
    ranks: np.ndarray = 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return ranks


def recall(ranks: np.ndarray) -> dict[str, float]:
    """Share of the gold recordings among the first k."""
    return {f"recall_at_{k}": float((ranks <= k).mean()) for k in RECALL_AT}


def recall_of_chance(num_recordings: int) -> dict[str, float]:
    """The same of a random order, k / R."""
    return {f"recall_at_{k}": min(1.0, k / num_recordings) for k in RECALL_AT}


def read_transcripts(uri: str, recordings: Sequence[str]) -> dict[str, str]:
    """What is said in each recording by its address, of a benchmark's ``transcripts.jsonl``.

    Raises
    ------
    TranscriptsError
        Unreadable, or a recording has none.
    """
    try:
        lines = [json.loads(line) for line in storage.read_text(uri).splitlines() if line.strip()]
        said = {
            line["recording_id"]: " ".join(
                sentence["text"] for turn in line["turns"] for sentence in turn["sentences"]
            )
            for line in lines
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise TranscriptsError(f"search.transcripts {uri} can't be read ({error})") from error
    names = {recording: PurePosixPath(recording).stem for recording in recordings}
    if missing := [name for name in names.values() if name not in said]:
        raise TranscriptsError(f"search.transcripts {uri} has no transcript of {missing[0]}")
    return {recording: said[name] for recording, name in names.items()}


def bag_of_words_scores(queries: Sequence[str], transcripts: Sequence[str]) -> np.ndarray:
    """Cosine of tf-idf vectors, ``(questions, recordings)``: what a search in transcripts could do.

    A word's weight in a text is its count times log((1 + R) / (1 + transcripts that have it)) + 1, as in
    scikit-learn; words of no transcript are left out.
    """
    vocabulary: dict[str, int] = {}
    for transcript in transcripts:
        for word in WORD.findall(transcript.lower()):
            vocabulary.setdefault(word, len(vocabulary))
    counts = _word_counts(transcripts, vocabulary)
    num_with_word = np.bincount(counts.indices, minlength=len(vocabulary))
    weights = np.log((1 + len(transcripts)) / (1 + num_with_word)) + 1
    scores: np.ndarray = (
        _unit_rows(_word_counts(queries, vocabulary), weights) @ _unit_rows(counts, weights).T
    ).toarray()
    return scores


def _word_counts(texts: Sequence[str], vocabulary: Mapping[str, int]) -> csr_array:
    """Count words, ``(texts, vocabulary)``, each pair stored once."""
    counted = [Counter(word for word in WORD.findall(text.lower()) if word in vocabulary) for text in texts]
    columns = [vocabulary[word] for counts in counted for word in counts]
    values = [float(count) for counts in counted for count in counts.values()]
    starts = np.cumsum([0, *map(len, counted)])
    return csr_array((values, columns, starts), shape=(len(texts), len(vocabulary)))


def _unit_rows(counts: csr_array, weights: np.ndarray) -> csr_array:
    """Weigh the columns, then scale every row that is not zero to length one."""
    weighted = counts.multiply(weights[None]).tocsr()
    lengths = np.sqrt(weighted.multiply(weighted).sum(axis=1))
    return weighted.multiply(1 / np.where(lengths > 0, lengths, 1)[:, None]).tocsr()


def found_by(ranks: Mapping[str, np.ndarray], num_recordings: int) -> dict[str, dict[str, float]]:
    """Recall by what searched, chance beside them."""
    return {name: recall(some) for name, some in ranks.items()} | {"chance": recall_of_chance(num_recordings)}
