"""SpeechPrune as a stage of a Ray Data pipeline of one's own: ``dataset.map_batches(AnswerStage, ...)``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa

from speechprune import storage
from speechprune.data.columns import ANSWER_COLUMNS
from speechprune.data.manifest import check_manifest, read_row
from speechprune.data.row_files import Source
from speechprune.data.row_keys import KeySet
from speechprune.data.sources import InputOptions
from speechprune.inference.point import Point
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline import answer_stage
from speechprune.pipeline.failures import FailureLog
from speechprune.pipeline.stages import decode_recording
from speechprune.pipeline.tasks import make_tasks
from speechprune.pruning import PruningMethod, method_class


class AnswerStage:
    """Answers the question of each row about its recording.

    >>> dataset.map_batches(  # doctest: +SKIP
    ...     AnswerStage,
    ...     fn_constructor_kwargs={"model": "Qwen/Qwen2-Audio-7B-Instruct"},
    ...     batch_format="pyarrow",
    ...     batch_size=16,
    ...     compute=ray.data.ActorPoolStrategy(size=4),
    ...     num_gpus=1,
    ... )

    Rows go in as a manifest has them: ``audio`` (a URI, or the file's bytes), ``question``, and as far as
    there are any ``choices``, ``answer``, ``start``, ``end``, ``track``, ``evidence_start``,
    ``evidence_end``, ``item_id``; all other columns pass through. They come out in their order with the
    columns of an answer (docs/columns.md) and ``status``: ``ok``, or ``failed`` with a sentence in ``error``,
    as where a recording can't be read. A batch's recordings are decoded side by side and encoded once each,
    so rows about one recording belong into one batch.

    The jobs do more: they decode on other workers than the model's, survive recordings that kill workers,
    and continue after a stop.

    Parameters
    ----------
    model
        Hub id, local folder, or ``s3://`` folder; or ``ModelOptions``.
    method
        A pruning method, or its name.
    options
        Wording, what of the choices is scored, limit of generated tokens.
    """

    def __init__(
        self,
        model: str | ModelOptions,
        *,
        method: str | PruningMethod = "speechprune",
        options: AnsweringOptions | None = None,
    ) -> None:
        model_options = ModelOptions(path=model) if isinstance(model, str) else model
        answering = options or AnsweringOptions()
        rule = method_class(method)() if isinstance(method, str) else method
        self._failures = FailureLog(lambda task_id, error: None)  # a bug ends the dataset with its traceback
        self._stage = answer_stage.AnswerStage(
            model=model_options,
            num_threads=None,
            failures=self._failures,
            model_name=model_options.path,
            points=[Point(method=rule, query_text=answering.query_text)],
            options=answering,
        )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer a batch.

        Raises
        ------
        ManifestError
            A column is missing or has the name of an answer's, a gold answer matches no choice, one
            ``item_id`` names two questions: rows and values are named.
        TypeError
            The batch is no table.
        """
        if not isinstance(batch, pa.Table):
            raise TypeError(
                f"AnswerStage takes pyarrow tables and got {type(batch).__name__}: give map_batches "
                'batch_format="pyarrow"'
            )
        rows = batch.to_pylist()
        source = Source(batches=[(rows, batch.schema)], base=storage.absolute("."))
        with tempfile.TemporaryDirectory() as folder:
            manifest = check_manifest(source, InputOptions(manifest="the batch"), folder)
            tasks = make_tasks(manifest, KeySet()).table()
            decode = partial(decode_recording, failures=self._failures)
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                decoded = list(threads.map(decode, (tasks.slice(i, 1) for i in range(len(tasks)))))
        answers = self._stage(pa.concat_tables(decoded))
        return _beside(batch, answers, [read_row(row, None)["item_id"] for row in rows])


def _beside(batch: pa.Table, answers: pa.Table, item_ids: list[str]) -> pa.Table:
    """Rows as they came, each with the columns of its answer."""
    places: Mapping[str, int] = {id_: i for i, id_ in enumerate(answers.column("item_id").to_pylist())}
    own = answers.take(pa.array([places[item_id] for item_id in item_ids], pa.int64()))
    made: list[Any] = [field.name for field in ANSWER_COLUMNS if field.name in own.column_names]
    for name in ["item_id", *made, "status"]:
        if name not in batch.column_names:
            batch = batch.append_column(own.schema.field(name), own.column(name))
    return batch
