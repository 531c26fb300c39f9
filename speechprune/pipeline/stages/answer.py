"""The middle stage, where the model is: encode, prune, answer. No exception of one recording gets out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune.inference.answer import answer_prepared
from speechprune.inference.encode import EncodedAudio, encode_recordings
from speechprune.inference.no_audio import answer_without_audio
from speechprune.inference.point import Point
from speechprune.inference.prepare import prepare_queries
from speechprune.inference.states import embed_stored
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.options import ModelOptions
from speechprune.pipeline.retries import Guard, Limits
from speechprune.pipeline.stages.answer_rows import answer_rows, points_to_answer
from speechprune.pipeline.stages.worker import load_in_worker, task_rows

Row = dict[str, Any]


class AnswerStage:
    """An actor with the model: encode, prune, answer.

    Parameters
    ----------
    model, model_name
        Loaded once an actor; what rows call it.
    points
        How to prune. Items with the column ``LACKED_POINTS`` are answered at the points named there and
        their rows say at which; others are answered at the one point there is.
    options
        How to ask.
    ledger, limits
        See ``attempts``.
    num_threads
        CPU threads for the model; Ray would leave it one.
    """

    def __init__(
        self,
        model: ModelOptions,
        model_name: str,
        points: Sequence[Point],
        options: AnsweringOptions,
        ledger: Any,
        limits: Limits,
        num_threads: int,
    ) -> None:
        self._model = load_in_worker(model, num_threads)
        self._model_name = model_name
        self._points = points
        self._options = options
        self._guard = Guard(ledger, limits, stage="answer", doing="answering about")

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Answer all items of some recordings: one row an item, ``status`` last."""
        return self._guard(task_rows(decoded), self._answer, self._failed)

    def _answer(self, tasks: list[Row]) -> pa.Table:
        encoded = self._encode([task for task in tasks if task["pcm"] or task["windows"]])
        items = {
            task["task_id"]: _items_of(task, audio)
            for task in tasks
            if isinstance(audio := encoded.get(task["task_id"]), EncodedAudio)
        }
        blind = {task_id: self._blind_predictions(some) for task_id, some in items.items()}
        outcomes = self._outcomes(tasks, items)
        tables = []
        for task in tasks:
            task_id = task["task_id"]
            audio = encoded.get(task_id)
            if isinstance(audio, EncodedAudio):
                tables += [
                    answer_rows(
                        task,
                        point,
                        rows,
                        outcomes[task_id, point.name],
                        self._model_name,
                        audio,
                        blind[task_id],
                    )
                    for point, rows in points_to_answer(task["items"], self._points)
                ]
            else:  # not decoded, or not encoded
                tables.append(self._failed(task, audio))
        return pa.concat_tables(tables)

    def _outcomes(
        self, tasks: list[Row], items: dict[str, list[Item]]
    ) -> dict[tuple[str, str], list[Answer | Exception]]:
        """Answers by task and point; what points share is made once for each query that they compare with."""
        places: dict[Point, list[tuple[str, int]]] = defaultdict(list)  # task and row of each item
        for task in tasks:
            if task["task_id"] in items:
                for point, rows in points_to_answer(task["items"], self._points):
                    places[point] += [(task["task_id"], row) for row in rows]
        outcomes: dict[tuple[str, str], list[Answer | Exception]] = defaultdict(list)
        for query_text in dict.fromkeys(point.query_text for point in places):
            points = [point for point in places if point.query_text == query_text]
            options = replace(self._options, query_text=query_text)
            methods = [point.method for point in points]
            asked = {
                (task_id, row): question
                for (task_id, row), question in zip(
                    [(task_id, row) for task_id, some in items.items() for row in range(len(some))],
                    prepare_queries(
                        self._model, [item for some in items.values() for item in some], methods, options
                    ),
                    strict=True,
                )
            }
            for point in points:
                questions = [asked[place] for place in places[point]]
                answers = answer_prepared(self._model, questions, point.method, options)
                for (task_id, _), answer in zip(places[point], answers, strict=True):
                    outcomes[task_id, point.name].append(answer)
        return outcomes

    def _failed(self, task: Row, error: Exception | None) -> pa.Table:
        """Rows of a recording that could not be heard; without an error it was not even decoded."""
        return pa.concat_tables(
            answer_rows(task, point, rows, [error] * len(rows), self._model_name, None, {})
            for point, rows in points_to_answer(task["items"], self._points)
        )

    def _blind_predictions(self, items: Sequence[Item]) -> dict[str, str]:
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
        heard = [task for task in tasks if task["pcm"]]
        samples = [np.frombuffer(task["pcm"], np.int16) for task in heard]
        encoded = encode_recordings(self._model, samples, [task["start"] or 0.0 for task in heard])
        stored = [task for task in tasks if task["windows"]]
        encoded += embed_stored(
            self._model, [pa.ipc.open_stream(task["windows"]).read_all() for task in stored]
        )
        by_id = dict(zip((task["task_id"] for task in [*heard, *stored]), encoded, strict=True))
        return [by_id[task["task_id"]] for task in tasks]


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
