"""Reader of standing questions, which are asked once about every recording of an archive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from speechprune import storage
from speechprune.data.manifest import Manifest, make_manifest
from speechprune.inference.prompts import MAX_CHOICES

KEYS = ("id", "question", "choices")


class QuestionsError(ValueError):
    """A file of questions that can't be used; one line names the entry."""


@dataclass(frozen=True)
class StandingQuestion:
    """One standing question."""

    name: str  # its ``id``, or the question itself
    question: str
    choices: tuple[str, ...] | None


def read_questions(uri: str) -> list[StandingQuestion]:
    """Read and check a YAML list of questions.

    Raises
    ------
    QuestionsError
        No such file, no list, an entry without a question or with an unknown key, a name twice.
    """
    try:
        # all scalars as texts: a choice such as yes, 1.50 or 2026-11-27 is what is written there
        entries = yaml.load(storage.read_text(uri), Loader=yaml.BaseLoader)
    except (FileNotFoundError, storage.StorageError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise QuestionsError(f"questions.path {uri} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries:
        raise QuestionsError(f"questions.path {uri} must be a list of entries with a question")
    questions = [_question(uri, number, entry) for number, entry in enumerate(entries, start=1)]
    names = [question.name for question in questions]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise QuestionsError(f"{uri}: {twice!r} is there twice: give each question an id of its own")
    return questions


def _question(uri: str, number: int, entry: Any) -> StandingQuestion:
    if isinstance(entry, str):
        entry = {"question": entry}
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("question"), str)
        or not entry["question"].strip()
    ):
        raise QuestionsError(f"{uri}: entry {number} has no question")
    if unknown := sorted(set(map(str, entry)) - set(KEYS)):
        raise QuestionsError(
            f"{uri}: entry {number} has an unknown key {unknown[0]}: valid are {', '.join(KEYS)}"
        )
    choices = entry.get("choices")
    if choices in ("", "null", "~"):
        choices = None
    texts = choices if isinstance(choices, list) and all(isinstance(text, str) for text in choices) else []
    if choices is not None and not 2 <= len(texts) <= MAX_CHOICES:
        raise QuestionsError(f"{uri}: entry {number}: choices must be a list of 2 to {MAX_CHOICES} texts")
    return StandingQuestion(
        name=str(entry.get("id") or entry["question"]),
        question=entry["question"],
        choices=None if choices is None else tuple(texts),
    )


def as_items(questions: Sequence[StandingQuestion], recordings: Mapping[str, str]) -> Manifest:
    """Make a manifest with every question about every recording.

    Parameters
    ----------
    recordings
        Version of each, by address. An item's id depends on it: a changed recording is asked about again.
    """
    rows = [
        {
            "item_id": _item_id(question, recording, version),
            "audio": recording,
            "question": question.question,
            "choices": None if question.choices is None else list(question.choices),
            "question_id": question.name,
            "version": version,
        }
        for recording, version in recordings.items()
        for question in questions
    ]
    return make_manifest(rows, [pa.field("question_id", pa.string()), pa.field("version", pa.string())])


def _item_id(question: StandingQuestion, recording: str, version: str) -> str:
    parts = [question.question, question.choices, recording, version]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]
