"""The stage with the model: encode, prune, answer. What one recording fails by becomes its rows."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune.audio import Speech
from speechprune.data import Row, column_values
from speechprune.data.answer_rows import Failure, answer_rows
from speechprune.inference.answer import answer_prepared
from speechprune.inference.encode import EncodedAudio, encode_recordings
from speechprune.inference.encoding_options import Cut, EncodingOptions
from speechprune.inference.no_audio import answer_without_audio
from speechprune.inference.point import Point
from speechprune.inference.prepare import prepare_queries
from speechprune.inference.states import embed_stored
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.base import SpeechModel
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from speechprune.pipeline.executor import Stages
from speechprune.pipeline.failures import FailureLog, UnexpectedError, failure_sentence
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.stages import decode_recording, write_answers
from speechprune.pipeline.tasks import unpack_items

BINARY_COLUMNS = ("pcm", "windows")


def answer_stages(
    model: ModelOptions,
    points: Sequence[Point],
    options: AnsweringOptions,
    run: RunStore,
    encoding: EncodingOptions | None = None,
) -> Stages:
    """The stages of every job that answers questions.

    - ``model``: as in the config: rows name it so.
    - ``points``: how to prune: one answer per item at each, or at those that its task lists as missing.
    - ``encoding``: of the recordings that no index holds.
    """
    encoding = encoding or EncodingOptions()
    return Stages(
        decode=partial(decode_recording, detector=encoding.detector()),
        model=partial(AnswerStage, model_name=model.path, points=points, options=options, cut=encoding.cut),
        write=partial(write_answers, run_path=run.path, key_columns=run.key_columns),
        doing="answering about",
    )


class AnswerStage:
    """The stage with the model: encode, prune, answer; rows name the model by ``model_name``."""

    def __init__(
        self,
        *,
        model: ModelOptions,
        num_threads: int | None,
        failures: FailureLog,
        model_name: str,
        points: Sequence[Point],
        options: AnsweringOptions,
        cut: Cut = "fixed",
    ) -> None:
        self._model = load_in_worker(model, num_threads)
        self._failures = failures
        self._model_name = model_name
        self._points = points
        self._options = options
        self._cut = cut

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Answer all items of some recordings: one row per item and point, ``status`` last."""
        tasks = task_rows(decoded)
        encoded = self._encode([task for task in tasks if task["pcm"] or task["windows"]])
        for task_id, outcome in encoded.items():
            self._failures.note("encoding", task_id, [outcome])
        items = {
            task["task_id"]: _items_of(task, audio)
            for task in tasks
            if isinstance(audio := encoded.get(task["task_id"]), EncodedAudio)
        }
        no_audio = {task_id: self._no_audio_predictions(some) for task_id, some in items.items()}
        outcomes = self._outcomes(tasks, items)
        tables = []
        for task in tasks:
            task_id = task["task_id"]
            audio = encoded.get(
                task_id
            )  # an error where it could not be encoded, None where not even decoded
            for point, rows in self._points_of(task):
                if isinstance(audio, EncodedAudio):
                    own, predictions = outcomes[task_id, point.name], no_audio[task_id]
                    tables.append(self._rows(task, point, rows, own, audio, predictions))
                else:
                    tables.append(self._rows(task, point, rows, [audio] * len(rows), None, {}))
        return pa.concat_tables(tables)

    def _outcomes(
        self, tasks: list[Row], items: dict[str, list[Item]]
    ) -> dict[tuple[str, str], list[Answer | Exception]]:
        """Answers by task and point; what points share is made once for each query that they compare with."""
        places: dict[Point, list[tuple[str, int]]] = defaultdict(list)  # task and row of each item
        for task in tasks:
            if task["task_id"] in items:
                for point, rows in self._points_of(task):
                    places[point] += [(task["task_id"], row) for row in rows]
        outcomes: dict[tuple[str, str], list[Answer | Exception]] = defaultdict(list)
        for query_text in dict.fromkeys(point.query_text for point in places):
            points = [point for point in places if point.query_text == query_text]
            options = replace(self._options, query_text=query_text)
            methods = [point.method for point in points]
            all_items = {
                (task_id, row): item for task_id, some in items.items() for row, item in enumerate(some)
            }
            queries = prepare_queries(self._model, list(all_items.values()), methods, options)
            prepared = dict(zip(all_items, queries, strict=True))
            for point in points:
                own = [prepared[place] for place in places[point]]
                answers = answer_prepared(self._model, own, point.method, options)
                for (task_id, _), answer in zip(places[point], answers, strict=True):
                    outcomes[task_id, point.name].append(answer)
        for (task_id, name), some in outcomes.items():
            self._failures.note(f"answering by {name}", task_id, some)
        return outcomes

    def _points_of(self, task: Row) -> Iterator[tuple[Point, list[int]]]:
        """Each point, and the rows of the task's items that are to be answered there."""
        if task["missing_points"] is None:
            yield self._points[0], list(range(len(task["items"])))
            return
        for point in self._points:
            rows = [row for row, names in enumerate(task["missing_points"]) if point.name in names]
            if rows:
                yield point, rows

    def _rows(
        self,
        task: Row,
        point: Point,
        rows: Sequence[int],
        outcomes: Sequence[Answer | Exception | None],
        audio: EncodedAudio | None,
        no_audio_predictions: Mapping[str, str],
    ) -> pa.Table:
        """Rows of some of a task's items at one point, ``status`` last; in a sweep they name the point."""
        items: pa.Table = task["items"]
        if task["missing_points"] is not None:
            items = items.take(pa.array(rows, pa.int64()))
            items = items.append_column("point", pa.array([point.name] * len(items), pa.string()))
        return answer_rows(
            items,
            [outcome if isinstance(outcome, Answer) else _failure(task, outcome) for outcome in outcomes],
            point=point,
            model_name=self._model_name,
            audio=audio,
            seconds_decode_audio=task["seconds_decode_audio"],
            no_audio_predictions=no_audio_predictions,
        )

    def _no_audio_predictions(self, items: Sequence[Item]) -> dict[str, str]:
        """Letters that the model gives without audio, by item id; none unless asked for."""
        if not self._options.no_audio_baseline:
            return {}
        asked = {item.item_id: (item.question, item.choices) for item in items if item.choices}
        answers = answer_without_audio(self._model, list(asked.values()), self._options)
        return {
            item_id: answer.prediction
            for item_id, answer in zip(asked, answers, strict=True)
            if isinstance(answer, Answer)
        }

    def _encode(self, tasks: list[Row]) -> dict[str, EncodedAudio | Exception]:
        """Encode together; if that fails, one by one, so that one recording fails for itself."""
        if not tasks:
            return {}
        try:
            return dict(zip((task["task_id"] for task in tasks), self._encode_all(tasks), strict=True))
        except Exception as error:
            if len(tasks) == 1:
                trace = UnexpectedError.of(error).traceback
                logger.debug("encoding {} failed: {}", tasks[0]["task_id"], trace)
                return {tasks[0]["task_id"]: error}
        return {task_id: audio for task in tasks for task_id, audio in self._encode([task]).items()}

    def _encode_all(self, tasks: Sequence[Row]) -> list[EncodedAudio]:
        decoded = [task for task in tasks if task["pcm"]]
        samples = [np.frombuffer(task["pcm"], np.int16) for task in decoded]
        encoded = encode_recordings(
            self._model,
            samples,
            [task["start"] or 0.0 for task in decoded],
            speech=[speech_of(task) for task in decoded],
            cut=self._cut,
        )
        stored = [task for task in tasks if task["windows"]]
        encoded += embed_stored(
            self._model, [pa.ipc.open_stream(task["windows"]).read_all() for task in stored]
        )
        by_id = dict(zip((task["task_id"] for task in [*decoded, *stored]), encoded, strict=True))
        return [by_id[task["task_id"]] for task in tasks]


def _failure(task: Row, error: Exception | None) -> Failure:
    if error is None:
        return Failure(task["error_type"], task["error"])
    return Failure(type(error).__name__, failure_sentence(error))


def _items_of(task: Row, audio: EncodedAudio) -> list[Item]:
    columns = ("item_id", "question", "choices")
    return [
        Item(item_id=item_id, audio=audio, question=question, choices=choices and tuple(choices))
        for item_id, question, choices in column_values(task["items"], columns)
    ]


def load_in_worker(model: ModelOptions, num_threads: int | None) -> SpeechModel:
    """Load the model without the messages of its libraries.

    ``num_threads`` are its CPU threads: Ray would leave it one. None leaves the process as it is.
    """
    import torch
    import transformers

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.logging.set_verbosity_error()
    if num_threads is None:
        return load_model(model)
    # Ray loads the model in one thread and works in another. A thread that runs a parallel operation starts
    # OpenMP threads of its own, which never end: with more of them than cores, all sleep instead of waiting
    # awake for the next operation, and every operation takes longer. So loading stays in its thread.
    torch.set_num_threads(1)
    loaded = load_model(model)
    torch.set_num_threads(num_threads)
    return loaded


def speech_of(task: Row) -> Speech | None:
    """Places of a task's samples in its recording; None where silence was not left out."""
    return None if task["speech"] is None else Speech(**task["speech"])


def task_rows(decoded: pa.Table) -> list[Row]:
    """One dict a recording; samples and stored windows stay a view of Ray's shared memory."""
    rows: list[Row] = decoded.drop_columns(list(BINARY_COLUMNS)).to_pylist()
    for index, row in enumerate(rows):
        row["items"] = unpack_items(row["items"])
        for name in BINARY_COLUMNS:
            value = decoded.column(name)[index]
            row[name] = value.as_buffer() if value.is_valid else None
    return rows
