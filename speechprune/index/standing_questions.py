"""Standing questions about what an index holds: each recording is asked once, the answers go by day."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import yaml
from loguru import logger

from speechprune import storage
from speechprune.cost import ModelShape
from speechprune.data.formats import counted
from speechprune.data.index_files import Contents, stored_parts
from speechprune.data.manifest import Manifest, make_manifest
from speechprune.data.row_keys import KeySet
from speechprune.index.config import IndexConfig
from speechprune.inference.point import Point
from speechprune.inference.prompts import MAX_CHOICES
from speechprune.pipeline.answer_stage import answer_stages
from speechprune.pipeline.executor import make_executor
from speechprune.pipeline.preview import warn_of_unknown_words
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings
from speechprune.pipeline.summary import summarise
from speechprune.pipeline.tasks import Tasks, make_tasks

KEYS = ("id", "question", "choices")


class QuestionsError(ValueError):
    """A file of questions that can't be used; one line names the entry."""


@dataclass(frozen=True)
class StandingQuestion:
    """One standing question."""

    name: str  # its ``id``, or the question itself
    question: str
    choices: tuple[str, ...] | None


def read_questions(uri: str | None) -> list[StandingQuestion]:
    """Read and check a YAML list of questions; None for none.

    Raises
    ------
    QuestionsError
        No such file, no list, an entry without a question or with an unknown key, a name twice.
    """
    if uri is None:
        return []
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

    ``recordings``: version of each, by address. An item's id depends on it: a changed recording is asked
    about again.
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


def ask_standing_questions(
    config: IndexConfig,
    shape: ModelShape,
    questions: Sequence[StandingQuestion],
    complete: Mapping[str, str],
    contents: Contents,
) -> dict[str, Any]:
    """Ask what has not been answered yet, on whatever day; failed items are tried again.

    ``complete``: version of each recording that the index holds whole, by address.

    Returns, for the summary, ``num_items`` asked in this run, ``num_ok``, ``num_failed``, ``answers`` and the
    TFLOPs and seconds of a question.
    """
    output = str(config.questions.output)
    manifest = as_items(questions, complete)
    answered = answered_items(output)
    wanted = [item_id for item_id in manifest.items.column("item_id").to_pylist() if item_id not in answered]
    logger.info(
        "standing questions: {:,} about {}, {} to make",
        len(questions),
        counted(len(complete), "recording"),
        counted(len(wanted), "answer"),
    )
    if not wanted:
        return {"num_items": 0, "num_ok": 0, "num_failed": 0, "answers": output}
    store = todays_store(output)
    keys = KeySet.of((item_id,) for item_id in wanted)
    progress = Progress(len(keys))
    with store.launch(answer_settings(config, config.index.states), config):
        with store.answering(manifest.items, keys) as todo:
            if todo:
                warn_of_unknown_words(config.model, manifest.items)
                done = KeySet.of((item_id,) for item_id in answered)
                _ask(config, make_tasks(manifest, done, stored_parts(contents)), store, progress)
        values = summarise(store, keys, shape, progress.throughput()).values
        store.finish(values)
    work = ("seconds_encode", "seconds_prune", "seconds_prefill", "seconds_generate")
    num_ok = max(1, values["num_ok"])
    return {
        "num_items": len(wanted),
        "num_ok": values["num_ok"],
        "num_failed": values["num_failed"],
        "answers": f"{store.path}/answers",
        "tflops_per_question": values["totals"]["tflops_total"] / num_ok,
        "seconds_per_question": sum(values["totals"][name] for name in work) / num_ok,
    }


def answered_items(output: str) -> set[str]:
    """Ids of the items that were answered on any day."""
    answered: set[str] = set()
    for day in storage.folders_in(output):
        answered.update(RunStore(day).read_answers("ok", ["item_id"]).column("item_id").to_pylist())
    return answered


def todays_store(output: str) -> RunStore:
    """The run directory of today's answers."""
    today = datetime.now(UTC).date().isoformat()
    return RunStore(storage.join(output, f"date={today}"), place="questions.output")


def _ask(config: IndexConfig, tasks: Tasks, store: RunStore, progress: Progress) -> None:
    executor = make_executor(config.ray, config.model)
    point = Point(method=config.pruning.build(), query_text=config.answering.query_text)
    executor.run(answer_stages(config.model, [point], config.answering, store), tasks, progress)
