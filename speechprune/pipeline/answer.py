"""The middle stage, where the model is: encode, prune, answer. No exception of one recording gets out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune.answering import answer_items
from speechprune.encoding import EncodedAudio, encode_recordings
from speechprune.evidence import evidence_recall
from speechprune.models.loading import ModelOptions, load_model
from speechprune.no_audio import answer_without_audio
from speechprune.pipeline.attempts import Attempts, give_up_on_killers
from speechprune.pipeline.decode import DECODED_SCHEMA
from speechprune.pipeline.failures import WorkerKilled, failure_sentence
from speechprune.pipeline.tasks import unpack_items
from speechprune.pruning import PruningMethod
from speechprune.questions import Answer, AnsweringOptions, Item
from speechprune.schema import GOLD_SPAN_COLUMNS, answers_table

Row = dict[str, Any]


class AnswerStage:
    """An actor with the model: encode, prune, answer.

    Parameters
    ----------
    model, method, options
        Loaded once an actor; how to prune and ask.
    ledger, max_attempts
        See ``attempts``.
    num_threads
        CPU threads for the model; Ray would leave it one.
    """

    def __init__(
        self,
        model: ModelOptions,
        method: PruningMethod,
        options: AnsweringOptions,
        ledger: Any,
        max_attempts: int,
        num_threads: int,
    ) -> None:
        import torch
        import transformers

        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        transformers.logging.set_verbosity_error()
        torch.set_num_threads(num_threads)
        self._model = load_model(model)
        self._method = method
        self._options = options
        self._together = Attempts(ledger, "answer together")
        self._alone = Attempts(ledger, "answer alone")
        self._max_attempts = max_attempts

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Answer all items of some recordings: one row an item, ``status`` last."""
        tasks = [_task_row(decoded, i) for i in range(len(decoded))]
        task_ids = [task["task_id"] for task in tasks]
        if len(tasks) == 1 or any(self._together.open_attempts(task_ids)):
            # one of them killed a worker: apart, the guilty one shows itself and the others go on
            return pa.concat_tables([self._answer_alone(task) for task in tasks])
        with self._together(*task_ids):
            return self._answer(tasks)

    def _answer_alone(self, task: Row) -> pa.Table:
        try:
            give_up_on_killers(self._alone, task, self._max_attempts, "answering about")
        except WorkerKilled as error:
            return self._rows(task, [error] * len(task["items"]), None, {})
        with self._alone(task["task_id"]):
            return self._answer([task])

    def _answer(self, tasks: list[Row]) -> pa.Table:
        encoded = self._encode([task for task in tasks if task["pcm"] is not None])
        items: list[Item] = []
        for task in tasks:
            audio = encoded.get(task["task_id"])
            if isinstance(audio, EncodedAudio):
                items += _items_of(task, audio)
        outcomes = iter(answer_items(self._model, items, self._method, self._options))
        blind = self._blind_predictions(items) if self._options.no_audio_baseline else {}
        tables = []
        for task in tasks:
            audio = encoded.get(task["task_id"])
            if isinstance(audio, EncodedAudio):
                results: list[Answer | Exception | None] = [next(outcomes) for _ in range(len(task["items"]))]
                tables.append(self._rows(task, results, audio, blind))
            else:  # not decoded, or not encoded
                tables.append(self._rows(task, [audio] * len(task["items"]), None, {}))
        return pa.concat_tables(tables)

    def _blind_predictions(self, items: Sequence[Item]) -> dict[str, str]:
        """Letters that the model gives without audio, by item id."""
        asked = {item.item_id: (item.question, item.choices) for item in items if item.choices}
        answers = answer_without_audio(self._model, list(asked.values()), self._options)
        return {
            item_id: answer.prediction
            for item_id, answer in zip(asked, answers, strict=True)
            if isinstance(answer, Answer)
        }

    def _encode(self, tasks: list[Row]) -> dict[str, EncodedAudio | Exception]:
        """Encode together; if that fails, one by one, so that one recording fails for itself."""
        try:
            return (
                dict(zip((t["task_id"] for t in tasks), self._encode_all(tasks), strict=True))
                if tasks
                else {}
            )
        except Exception as error:
            if len(tasks) == 1:
                logger.opt(exception=error).debug("encoding {} failed", tasks[0]["audio"])
                return {tasks[0]["task_id"]: error}
        return {task_id: audio for task in tasks for task_id, audio in self._encode([task]).items()}

    def _encode_all(self, tasks: Sequence[Row]) -> list[EncodedAudio]:
        samples = [np.frombuffer(task["pcm"], np.int16) for task in tasks]
        return encode_recordings(self._model, samples, [task["start"] or 0.0 for task in tasks])

    def _rows(
        self,
        task: Row,
        outcomes: Sequence[Answer | Exception | None],
        audio: EncodedAudio | None,
        blind: dict[str, str],
    ) -> pa.Table:
        """Rows of one recording's items; no outcome means that it was not even decoded."""
        shared = {
            "method": self._method.name,
            "pruning_rate": self._method.rate,
            "model": self._model.name,
            "seconds_decode_audio": task["seconds_decode_audio"] / len(outcomes),
            "audio_seconds": None if audio is None else audio.seconds,
            "finished_at": datetime.now(UTC),
        }
        rows = []
        ids, golds = (task["items"].column(name).to_pylist() for name in ("item_id", "answer"))
        gold_spans = _gold_spans(task["items"])
        for item_id, outcome, gold, gold_span in zip(ids, outcomes, golds, gold_spans, strict=True):
            if outcome is None:
                rows.append(shared | {"error_type": task["error_type"], "error": task["error"]})
            elif isinstance(outcome, Exception):
                rows.append(
                    shared | {"error_type": type(outcome).__name__, "error": failure_sentence(outcome)}
                )
            else:
                assert audio is not None  # what was not encoded has no answer
                row = answer_row(outcome, gold, gold_span, audio.times)
                if row["correct"] is not None and item_id in blind:
                    row["correct_without_audio"] = blind[item_id] == gold
                rows.append(shared | row)
        table = answers_table(rows, task["items"])
        status = ["ok" if row.get("error") is None else "failed" for row in rows]
        return table.append_column("status", pa.array(status, pa.string()))


def _task_row(decoded: pa.Table, index: int) -> Row:
    """One recording's row; its samples stay a view of Ray's shared memory."""
    row: Row = {
        name: decoded.column(name)[index].as_py()
        for name in DECODED_SCHEMA.names
        if name not in ("pcm", "items")
    }
    pcm = decoded.column("pcm")[index]
    row["pcm"] = pcm.as_buffer() if pcm.is_valid else None
    row["items"] = unpack_items(decoded.column("items")[index].as_py())
    return row


def _items_of(task: Row, audio: EncodedAudio) -> list[Item]:
    columns = (task["items"].column(name).to_pylist() for name in ("item_id", "question", "choices"))
    return [
        Item(
            item_id=item_id,
            audio=audio,
            question=question,
            choices=None if choices is None else tuple(choices),
        )
        for item_id, question, choices in zip(*columns, strict=True)
    ]


def _gold_spans(items: pa.Table) -> list[tuple[float, float] | None]:
    """Seconds between which each item's critical fact is told; None where the manifest doesn't say."""
    if not set(GOLD_SPAN_COLUMNS) <= set(items.column_names):
        return [None] * len(items)
    starts, ends = (items.column(name).to_pylist() for name in GOLD_SPAN_COLUMNS)
    return [None if start is None else (start, end) for start, end in zip(starts, ends, strict=True)]


def answer_row(
    answer: Answer, gold: str | None, gold_span: tuple[float, float] | None, times: np.ndarray
) -> Row:
    """An answer as the columns of its row, judged by what the manifest knows.

    Parameters
    ----------
    answer
        Made without sight of what follows.
    gold
        Letter of the right choice, or free text.
    gold_span
        Begin and end of the critical fact, in seconds of the recording.
    times
        Begin and end of every audio token in the same seconds, shape ``(N, 2)``.
    """
    own = {
        name: getattr(answer, name)
        for name in (
            "prediction",
            "prediction_text",
            "choice_probabilities",
            "num_audio_tokens",
            "num_phase1_tokens",
            "num_kept_tokens",
            "num_text_tokens",
            "num_generated_tokens",
            "seconds_encode",
            "seconds_prune",
            "seconds_prefill",
            "seconds_generate",
            "peak_memory_bytes",
        )
    }
    judged = gold is not None and answer.choice_probabilities is not None
    return {
        **own,
        **vars(answer.cost),
        "correct": answer.prediction == gold if judged else None,
        "evidence": [vars(span) for span in answer.evidence],
        "evidence_recall": None
        if gold_span is None
        else evidence_recall(answer.kept_indices, times, gold_span),
    }
