"""Size of answers' files before there are any: of an example that is compressed as they are."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune.data import column_values
from speechprune.data.answer_rows import answers_table
from speechprune.data.column import FLOAT
from speechprune.data.columns import COLUMNS
from speechprune.data.disk_rows import DiskRows
from speechprune.data.parquet_files import as_parquet
from speechprune.inference.evidence import MAX_TIMELINE_PARTS, NUM_EVIDENCE_SECONDS

# these columns differ between rows of the example, all other numbers do not
VARYING = {"seconds_prune", "seconds_prefill", "tflops_total", "evidence_recall"}
CONSTANT = 12345.678
SCORE_RANGE = 0.1  # of phase 1 in a recording, about; a timeline's scores are rounded


def answers_bytes(
    items: pa.Table | DiskRows, *, num_answers: int, num_files: int, mean_seconds: float
) -> float:
    """Return the bytes that answers take in Parquet, without transcripts of their evidence.

    Parameters
    ----------
    items
        To be asked, with their carried columns; the first ones stand for all.
    num_answers, num_files
        To be written.
    mean_seconds
        Of a recording, or its slice.
    """
    if not num_answers:
        return 0.0
    num_rows = math.ceil(num_answers / num_files)
    # answers about an item at several points follow one another
    places = np.arange(num_rows) * min(len(items), num_rows * len(items) // num_answers or 1) // num_rows
    example = items.take(places)
    rows = list(_example_rows(example, mean_seconds))
    return num_answers / num_rows * len(as_parquet(answers_table(rows, example)))


def _example_rows(items: pa.Table, mean_seconds: float) -> Iterator[dict[str, Any]]:
    """Rows whose numbers take as much space as those of answers."""
    rng = random.Random(0)
    constant = {
        column.name: CONSTANT if column.type == FLOAT else 12345
        for column in COLUMNS
        if column.section != "item" and column.type in (FLOAT, pa.int64())
    }
    num_seconds = max(1, math.ceil(mean_seconds))
    num_parts = math.ceil(num_seconds / math.ceil(num_seconds / MAX_TIMELINE_PARTS))

    def second() -> float:
        return float(rng.randrange(num_seconds))

    def score() -> float:
        return round(rng.uniform(0, SCORE_RANGE), 4)

    for choices, _ in column_values(items, ("choices", "question")):
        texts = choices or ["an answer of a few words"]
        yield (
            constant
            | {name: rng.random() for name in VARYING}
            | {
                "prediction": "A",
                "prediction_text": rng.choice(texts),
                "choice_probabilities": [rng.random() for _ in texts],
                "evidence": [
                    {"start": second(), "end": second(), "score": rng.random()}
                    for _ in range(NUM_EVIDENCE_SECONDS)
                ],
                "timeline": [
                    {"start": part, "end": part + 1, "kept": rng.randrange(25) / 25, "score": score()}
                    for part in range(num_parts)
                ],
            }
        )
