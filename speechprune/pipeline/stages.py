"""The three stages that Ray Data runs: decode on CPUs, answer where the model is, write.

Each takes and returns Arrow tables and lets no exception of a single recording out: a failure is a row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from speechprune.answering import Answer, AnsweringOptions, Item, answer_items
from speechprune.audio import decode_audio
from speechprune.encoding import EncodedAudio, encode_recordings
from speechprune.models.loading import ModelOptions, load_model
from speechprune.pipeline.attempts import Attempts
from speechprune.pipeline.run_directory import RunDirectory
from speechprune.pipeline.tasks import TASK_SCHEMA, unpack_items
from speechprune.pruning import PruningMethod
from speechprune.schema import answers_table

DECODED_SCHEMA = pa.schema(
    [
        *TASK_SCHEMA,
        pa.field("pcm", pa.large_binary()),  # int16, 16 kHz mono; null where decoding failed
        pa.field("error_type", pa.string()),
        pa.field("error", pa.string()),
        pa.field("seconds_decode_audio", pa.float64()),
    ]
)
PROGRESS_SCHEMA = pa.schema(
    [
        pa.field("num_ok", pa.int64()),
        pa.field("num_failed", pa.int64()),
        pa.field("num_recordings", pa.int64()),
        pa.field("audio_seconds", pa.float64()),
        pa.field("failures", pa.list_(pa.string())),  # the first few, for the screen
    ]
)
NUM_FAILURES_TOLD = 3  # a block

Row = dict[str, Any]


class MalformedRow(ValueError):
    """A row of the manifest that can't be asked."""


class WorkerKilled(RuntimeError):
    """A recording whose worker died, again and again."""


def decode_recording(tasks: pa.Table, *, ledger: Any, max_attempts: int) -> pa.Table:
    """Decode the one recording of a one-row table to 16 kHz mono int16."""
    (task,) = tasks.to_pylist()
    attempts = Attempts(ledger, "decode")
    begun = time.perf_counter()
    pcm: np.ndarray | None = None
    error: Exception | None = None
    try:
        if task["problem"]:
            raise MalformedRow(task["problem"])
        _give_up_on_killers(attempts, task, max_attempts, "decoding")
        with attempts(task["task_id"]):
            pcm = decode_audio(task["audio"], start=task["start"], end=task["end"])
    except Exception as caught:
        error = caught
        logger.opt(exception=caught).debug("decoding {} failed", task["audio"])
    columns = {
        **{name: tasks.column(name) for name in TASK_SCHEMA.names},
        "pcm": _one_binary(pcm),
        "error_type": [None if error is None else type(error).__name__],
        "error": [None if error is None else _sentence(error)],
        "seconds_decode_audio": [time.perf_counter() - begun],
    }
    return pa.table(columns, schema=DECODED_SCHEMA)


def _one_binary(samples: np.ndarray | None) -> pa.Array:
    """A one-row binary column over the samples themselves: hours of audio are not copied."""
    if samples is None:
        return pa.nulls(1, pa.large_binary())
    offsets = pa.py_buffer(np.array([0, samples.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(samples)])


def _give_up_on_killers(attempts: Attempts, task: Row, max_attempts: int, doing: str) -> None:
    (num_open,) = attempts.open_attempts([task["task_id"]])
    if num_open >= max_attempts:
        raise WorkerKilled(
            f"{doing} {task['audio']} killed its worker in {num_open} attempt{'s' if num_open > 1 else ''}: "
            "look at the file, or give workers more memory"
        )


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
            _give_up_on_killers(self._alone, task, self._max_attempts, "answering about")
        except WorkerKilled as error:
            return self._rows(task, [error] * len(task["items"]), None)
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
        tables = []
        for task in tasks:
            audio = encoded.get(task["task_id"])
            if isinstance(audio, EncodedAudio):
                results: list[Answer | Exception | None] = [next(outcomes) for _ in range(len(task["items"]))]
                tables.append(self._rows(task, results, audio))
            else:  # not decoded, or not encoded
                tables.append(self._rows(task, [audio] * len(task["items"]), None))
        return pa.concat_tables(tables)

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
        self, task: Row, outcomes: Sequence[Answer | Exception | None], audio: EncodedAudio | None
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
        for outcome, gold in zip(outcomes, task["items"].column("answer").to_pylist(), strict=True):
            if outcome is None:
                rows.append(shared | {"error_type": task["error_type"], "error": task["error"]})
            elif isinstance(outcome, Exception):
                rows.append(shared | {"error_type": type(outcome).__name__, "error": _sentence(outcome)})
            else:
                rows.append(shared | answer_row(outcome, gold))
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


def answer_row(answer: Answer, gold: str | None) -> Row:
    """An answer as the columns of its row."""
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
    }


def _sentence(error: Exception) -> str:
    """An error in one line; unknown kinds carry their name."""
    text = " ".join(str(error).split())[:500]
    return (
        text if isinstance(error, ValueError | WorkerKilled) and text else f"{type(error).__name__}: {text}"
    )


def write_answers(rows: pa.Table, *, run_path: str) -> pa.Table:
    """Publish a block of answers, and report it in one row for the driver's progress."""
    run = RunDirectory(run_path)
    recordings = {
        (row["audio"], row["start"], row["end"]): row["audio_seconds"] or 0.0
        for row in rows.select(["audio", "start", "end", "audio_seconds"]).to_pylist()
    }
    counts = {}
    failures: list[str] = []
    for status in ("ok", "failed"):
        part = rows.filter(pc.equal(rows.column("status"), status)).drop_columns("status")
        counts[status] = len(part)
        if len(part):
            run.write_answers(status, part)
        if status == "failed":
            told = part.slice(0, NUM_FAILURES_TOLD).select(["item_id", "error"]).to_pylist()
            failures = [f"{row['item_id']}: {row['error']}" for row in told]
    return pa.table(
        {
            "num_ok": [counts["ok"]],
            "num_failed": [counts["failed"]],
            "num_recordings": [len(recordings)],
            "audio_seconds": [sum(recordings.values())],
            "failures": [failures],
        },
        schema=PROGRESS_SCHEMA,
    )
