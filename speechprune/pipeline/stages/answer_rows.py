"""Rows of the items of one recording: which are answered at a point, and errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from speechprune.data import answer_rows as data
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.point import Point
from speechprune.inference.types import Answer
from speechprune.pipeline.failures import failure_sentence
from speechprune.pipeline.tasks import LACKED_POINTS

Row = dict[str, Any]


def points_to_answer(items: pa.Table, points: Sequence[Point]) -> Iterator[tuple[Point, list[int]]]:
    """Each point, and the rows of the items that are to be answered there."""
    if LACKED_POINTS not in items.column_names:  # no sweep: there is one point
        yield points[0], list(range(len(items)))
        return
    lacked = items.column(LACKED_POINTS).to_pylist()
    for point in points:
        rows = [row for row, names in enumerate(lacked) if point.name in names]
        if rows:
            yield point, rows


def answer_rows(
    task: Row,
    point: Point,
    rows: Sequence[int],
    outcomes: Sequence[Answer | Exception | None],
    model_name: str,
    audio: EncodedAudio | None,
    no_audio_predictions: Mapping[str, str],
) -> pa.Table:
    """Rows of some items of a recording at one point, ``status`` last.

    Parameters
    ----------
    task
        The recording as it was decoded.
    rows
        Which of the task's items.
    outcomes
        One per row; None where the recording was not even decoded.
    point, model_name, audio, no_audio_predictions
        See ``data.answer_rows``.
    """
    return data.answer_rows(
        _as_written(task["items"], point, rows),
        [outcome if isinstance(outcome, Answer) else _failure(task, outcome) for outcome in outcomes],
        point=point,
        model_name=model_name,
        audio=audio,
        seconds_decode_audio=task["seconds_decode_audio"],
        no_audio_predictions=no_audio_predictions,
    )


def _failure(task: Row, error: Exception | None) -> data.Failure:
    if error is None:
        return data.Failure(task["error_type"], task["error"])
    return data.Failure(type(error).__name__, failure_sentence(error))


def _as_written(items: pa.Table, point: Point, rows: Sequence[int]) -> pa.Table:
    """Some items as they are written: in a sweep with the point in place of those that they lacked."""
    if LACKED_POINTS not in items.column_names:
        return items
    some = items.take(pa.array(rows, pa.int64())).drop_columns(LACKED_POINTS)
    return some.append_column("point", pa.array([point.name] * len(some), pa.string()))
