"""Summary of a search, as numbers and on the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

NUM_SHOWN = 10  # hits of one question


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Parameters
    ----------
    hits
        One row per question and recording, best first; the first of each with the model's answer.
    summary
        ``summary.json``.
    path
        Run directory.
    """

    hits: pa.Table
    summary: dict[str, Any]
    path: str

    def show(self) -> None:
        """Print the hits of one question, or the recall over many."""
        console = Console()
        console.print(
            _hits_table(self.hits) if self.summary["num_questions"] == 1 else _recall_table(self.summary)
        )
        seconds = self.summary["seconds_search_per_question"]
        console.print(
            f"{self.summary['num_recordings']:,} recordings searched in {seconds:.3g} s a question; "
            f"hits: {self.path}/hits.parquet"
        )


def search_summary(
    hits: pa.Table, questions: pa.Table, num_recordings: int, seconds: float, num_bytes: int
) -> dict[str, Any]:
    """Counts, seconds and accuracy, as plain numbers.

    ``accuracy`` is that of the answers about the recording ranked first, of the questions with a gold letter.
    """
    first = hits.filter(pc.equal(hits.column("rank"), 1))
    judged = pc.count(first.column("correct")).as_py()
    return {
        "num_questions": len(questions),
        "num_recordings": num_recordings,
        "seconds_search": seconds,
        "seconds_search_per_question": seconds / max(1, len(questions)),
        "index_bytes_read": num_bytes,
        "num_judged": judged,
        "accuracy": pc.mean(first.column("correct")).as_py() if judged else None,
    }


def _hits_table(hits: pa.Table) -> Table:
    rows = hits.slice(0, NUM_SHOWN).to_pylist()
    table = Table(title=rows[0]["question"] if rows else "no recordings", title_justify="left")
    for name in ("", "recording", "seconds", "score", "answer", "heard at"):
        table.add_column(name)
    for row in rows:
        probabilities = row["choice_probabilities"]
        sure = f" ({max(probabilities):.0%})" if probabilities else ""
        table.add_row(
            str(row["rank"]),
            PurePosixPath(row["recording"]).name,
            f"{row['start']:.0f} to {row['end']:.0f}",
            f"{row['score']:.1f}",
            "" if row["prediction_text"] is None else f"{row['prediction_text']}{sure}",
            ", ".join(f"{span['start']:.0f} to {span['end']:.0f} s" for span in (row["evidence"] or [])[:2]),
        )
    return table


def _recall_table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"{summary['num_questions']:,} questions", title_justify="left")
    found = summary.get("found") or {}
    table.add_column("recording found by")
    names = list(next(iter(found.values()), {}))
    for name in names:
        table.add_column(name.replace("_at_", "@"), justify="right")
    for method, recalls in found.items():
        table.add_row(method.replace("_", " "), *(f"{recalls[name]:.1%}" for name in names))
    if summary["accuracy"] is not None:
        table.caption = (
            f"answers about the first recording: {summary['accuracy']:.1%} of {summary['num_judged']:,} right"
        )
    return table
