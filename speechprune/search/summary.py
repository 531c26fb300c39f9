"""Result and summary of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class SearchResult:
    """Hits of a search, its ``summary.json``, and its run directory."""

    # one row per question and recording, best first; the first of each with the model's answer
    hits: pa.Table
    summary: dict[str, Any]
    path: str


def search_summary(
    hits: pa.Table,
    questions: pa.Table,
    num_recordings: int,
    seconds: float,
    num_bytes: int,
    *,
    is_exact: bool,
) -> dict[str, Any]:
    """Counts, seconds and accuracy, as plain numbers.

    ``accuracy`` is that of the answers about the recording ranked first, of the questions with a gold letter.
    """
    first = hits.filter(pc.equal(hits.column("rank"), 1))
    judged = pc.count(first.column("correct")).as_py()
    return {
        "num_questions": len(questions),
        "num_recordings": num_recordings,
        "search": "exact" if is_exact else "approximate",
        "seconds_search": seconds,
        "seconds_search_per_question": seconds / max(1, len(questions)),
        "index_bytes_read": num_bytes,
        "num_judged": judged,
        "accuracy": pc.mean(first.column("correct")).as_py() if judged else None,
    }
