"""A run directory with rows that were written by hand, about a recording of the demo; and its page."""

import json
import re
from typing import Any

import pyarrow as pa

from speechprune.data.answer_rows import answers_table
from speechprune.data.columns import GOLD_SPAN_COLUMNS, ITEM_COLUMNS
from speechprune.pipeline.run_store import RunStore
from tests.helpers.tiny_models import DEMO

RECORDING = sorted((DEMO / "archive" / "audio").glob("*.opus"))[0]
MADE = {
    "num_kept_tokens": 600,
    "num_audio_tokens": 2250,
    "audio_seconds": 90.0,
    "method": "speechprune",
    "pruning_rate": 0.2,
    "tflops_total": 16.3,
    "seconds_prefill": 0.5,
}
EVIDENCE = [{"start": 3.0, "end": 5.0, "score": 0.4}, {"start": 61.0, "end": 62.5, "score": 0.3}]
TIMELINE = [
    {"start": float(second), "end": second + 1.0, "kept": second % 4 / 4, "score": second % 7 / 7 - 1}
    for second in range(90)
]
DAYS = ["Monday", "Thursday"]


def write_answer(
    run: RunStore,
    item_id: str,
    status: str = "ok",
    *,
    gold_span: tuple[float | None, float | None] = (None, None),
    **columns: Any,
) -> None:
    """Write one row; ``columns`` are the item's and the answer's, of an answer also ``MADE``."""
    item = dict.fromkeys(field.name for field in ITEM_COLUMNS)
    item |= {"item_id": item_id, "audio": str(RECORDING), "question": f"question {item_id}?"}
    item |= {name: columns.pop(name) for name in list(columns) if name in item}
    item |= dict(zip(GOLD_SPAN_COLUMNS, gold_span, strict=True))
    schema = pa.schema([*ITEM_COLUMNS, *((name, pa.float64()) for name in GOLD_SPAN_COLUMNS)])
    made = MADE if status == "ok" else {}
    run.write_answers(status, answers_table([made | columns], pa.Table.from_pylist([item], schema=schema)))


def answered_run(path: str) -> RunStore:
    """A run with an answer to a choice, an open one and a failure."""
    run = RunStore(path)
    write_answer(
        run,
        "meeting/1",
        choices=DAYS,
        answer="B",
        gold_span=(60.0, 63.5),
        evidence_recall=0.8,
        prediction="B",
        prediction_text="Thursday",
        choice_probabilities=[0.25, 0.75],
        correct=True,
        evidence=EVIDENCE,
        timeline=TIMELINE,
    )
    write_answer(
        run,
        "open-1",
        gold_span=(70.0, 71.0),
        prediction="on [bold]",
        prediction_text="on [bold]",
        evidence=[],
    )
    write_answer(run, "broken-1", "failed", error_type="AudioNotFound", error="x.wav does not exist")
    return run


def data_in(html: str) -> dict[str, Any]:
    """What the page of a run shows."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data
