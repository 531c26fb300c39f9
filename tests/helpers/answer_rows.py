"""Answers of a sweep that is nowhere."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune.cost import Cost
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS
from speechprune.inference.point import Point
from speechprune.inference.types import Answer
from speechprune.sweep.grid import expand_grid

FIELDS = {field.name: field for field in (*ITEM_COLUMNS, *ANSWER_COLUMNS)}
KEYS = {name: pa.field(name, pa.string()) for name in ("benchmark", "point", "status")}
COSTS = {
    "num_audio_tokens": 2000,
    "num_kept_tokens": 600,
    "num_text_tokens": 107,
    "tflops_prefill": 10.0,
    "tflops_encode": 2.0,
    "tflops_prune": 0.5,
    "tflops_total": 13.0,
    "weights_bytes": 13_000_000_000,
    "kv_cache_bytes": 400_000_000,
    "activation_bytes": 150_000_000,
    "peak_memory_bytes": 5_000_000,
    "seconds_decode_audio": 0.1,
    "seconds_encode": 0.2,
    "seconds_prune": 0.25,
    "seconds_prefill": 0.5,
    "seconds_generate": 0.25,
}


def grid(*blocks: dict[str, Any]) -> list[Point]:
    return expand_grid(blocks, "question_and_choices")


def answer(item_id: str, point: str, correct: bool | None, **columns: Any) -> dict[str, Any]:
    """A row with status ok, of model ``m`` and benchmark ``b`` where it doesn't say."""
    keys = {"model": "m", "benchmark": "b", "point": point, "status": "ok", "item_id": item_id}
    return keys | COSTS | {"answer": "A", "audio_seconds": 90.0, "correct": correct} | columns


def failure(item_id: str, point: str, **columns: Any) -> dict[str, Any]:
    keys = {"model": "m", "benchmark": "b", "point": point, "status": "failed", "item_id": item_id}
    return keys | {"answer": "A", "error_type": "AudioSilent"} | columns


def answers(rows: Sequence[dict[str, Any]], **carried: pa.DataType) -> pa.Table:
    fields = FIELDS | KEYS | {name: pa.field(name, kind) for name, kind in carried.items()}
    return pa.Table.from_pylist(
        [dict.fromkeys(fields) | row for row in rows], schema=pa.schema(fields.values())
    )


def right_of(point: str, letters: str, **columns: Any) -> list[dict[str, Any]]:
    """Rows of items 0, 1, ...: ``+`` right, ``-`` wrong, ``f`` failed, ``?`` without gold, blank: no row."""
    rows = []
    for number, letter in enumerate(letters):
        if letter == "f":
            rows.append(failure(str(number), point, **columns))
        elif letter != " ":
            correct = {"+": True, "-": False, "?": None}[letter]
            rows.append(answer(str(number), point, correct, **columns))
    return rows


def made_answer(letter: str = "B", num_kept: int = 600, **fields: Any) -> Answer:
    """An answer as a model would give it, to one of two choices."""
    defaults = {
        "prediction": letter,
        "prediction_text": f"text of {letter}",
        "permuted_prediction": None,
        "choice_probabilities": [0.25, 0.75],
        "kept_indices": np.arange(num_kept),
        "evidence": [],
        "evidence_text": None,
        "timeline": [],
        "num_audio_tokens": 2000,
        "num_phase1_tokens": 750,
        "num_text_tokens": 107,
        "num_generated_tokens": 0,
        "cost": Cost(**{field.name: COSTS[field.name] for field in dataclasses.fields(Cost)}),
        "seconds_encode": 0.2,
        "seconds_prune": 0.25,
        "seconds_prefill": 0.5,
        "seconds_generate": 0.25,
        "peak_memory_bytes": 5_000_000,
    }
    return Answer(**defaults | fields)
