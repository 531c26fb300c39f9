"""Answers to rows: of one recording's items, at one point."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune.data.columns import GOLD_SPAN_COLUMNS, answers_table
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.evidence import evidence_recall
from speechprune.inference.point import Point
from speechprune.inference.types import Answer
from speechprune.pipeline.failures import failure_sentence

Row = dict[str, Any]


def answer_rows(
    task: Row,
    point: Point,
    rows: Sequence[int],
    outcomes: Sequence[Answer | Exception | None],
    model_name: str,
    audio: EncodedAudio | None,
    blind: dict[str, str],
) -> pa.Table:
    """Rows of some items of a recording at one point, ``status`` last.

    Parameters
    ----------
    task
        The recording as it was decoded.
    point
        How it was pruned.
    rows
        Which of the task's items.
    outcomes
        One per row; None where the recording was not even decoded.
    model_name
        As the config calls it.
    audio
        The recording as it was encoded; None where it could not be.
    blind
        Letters given without audio, by item id.
    """
    shared = {
        "method": point.method.name,
        "pruning_rate": point.method.rate,
        "model": model_name,
        "seconds_decode_audio": task["seconds_decode_audio"] / len(outcomes),
        "audio_seconds": None if audio is None else audio.seconds,
        "finished_at": datetime.now(UTC),
    }
    items = _as_written(task, point, rows)
    made = []
    ids, golds = (items.column(name).to_pylist() for name in ("item_id", "answer"))
    for item_id, outcome, gold, gold_span in zip(ids, outcomes, golds, _gold_spans(items), strict=True):
        if outcome is None:
            made.append(shared | {"error_type": task["error_type"], "error": task["error"]})
        elif isinstance(outcome, Exception):
            made.append(shared | {"error_type": type(outcome).__name__, "error": failure_sentence(outcome)})
        else:
            assert audio is not None  # what was not encoded has no answer
            row = answer_row(outcome, gold, gold_span, audio.times)
            if row["correct"] is not None and item_id in blind:
                row["correct_without_audio"] = blind[item_id] == gold
            made.append(shared | row)
    table = answers_table(made, items)
    status = ["ok" if row.get("error") is None else "failed" for row in made]
    return table.append_column("status", pa.array(status, pa.string()))


def _as_written(task: Row, point: Point, rows: Sequence[int]) -> pa.Table:
    """Some items as they are written: in a sweep with the point that they were answered at."""
    items: pa.Table = task["items"]
    if task["missing_points"] is None:
        return items
    some = items.take(pa.array(rows, pa.int64()))
    return some.append_column("point", pa.array([point.name] * len(some), pa.string()))


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
        "correct_permuted": answer.permuted_prediction == gold
        if judged and answer.permuted_prediction
        else None,
        "evidence": [vars(span) for span in answer.evidence],
        "evidence_recall": None
        if gold_span is None
        else evidence_recall(answer.kept_indices, times, gold_span),
    }
