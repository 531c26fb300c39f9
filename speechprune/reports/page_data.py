"""What the page of a run shows, as plain values: items, recordings, facts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from speechprune.data import Row
from speechprune.data.columns import COLUMNS, GOLD_SPAN_COLUMNS, RECORDING_COLUMNS
from speechprune.data.formats import percent, significant
from speechprune.pipeline.summary import AnswersSource
from speechprune.reports.clips import Recording, Seconds, Sound
from speechprune.storage import shortened

OF_SWEEP = ("benchmark", "point")  # columns that only the answers of a sweep have
DETAIL_SECTIONS = ("tokens", "paper", "actual", "measured", "provenance")
DETAILS = [column for column in COLUMNS if column.section in DETAIL_SECTIONS]
_URGENCY = {"wrong": 0, "failed": 1}  # of an outcome; others follow


def read_rows(run: AnswersSource, num_items: int) -> tuple[list[Row], dict[str, str]]:
    """The rows most worth a look, most urgent first, and facts of all rows of the run.

    Wrong answers come first, then failures, then the others by the probability of their choice.
    """
    names = [*(column.name for column in COLUMNS), *GOLD_SPAN_COLUMNS, *OF_SWEEP]
    answers = pa.concat_tables(
        [run.read_answers(status, names) for status in ("ok", "failed")], promote_options="permissive"
    )
    short = ("item_id", "correct", "error_type", "choice_probabilities", *RECORDING_COLUMNS, "model")
    overview = answers.select(list(short)).to_pylist()
    order = sorted(range(len(overview)), key=lambda place: _urgency(overview[place]))
    chosen = answers.take(pa.array(order[:num_items], pa.int64()))
    return chosen.to_pylist(), _facts(run.path, overview, num_items)


def outcome_of(row: Mapping[str, Any]) -> str:
    """``wrong``, ``right``, ``failed``, or ``unjudged`` where there is no gold letter."""
    if row["error_type"] is not None:
        return "failed"
    return {True: "right", False: "wrong", None: "unjudged"}[row["correct"]]


def recording_of(row: Mapping[str, Any]) -> Recording:
    """What of which recording an item asks about."""
    return Recording(*(row[name] for name in RECORDING_COLUMNS))


def spans_of(row: Row) -> list[Seconds]:
    """Where to listen: the evidence, and the gold span."""
    spans = [Seconds(span["start"], span["end"]) for span in row["evidence"] or []]
    return spans + [gold for gold in [_gold_span(row)] if gold is not None]


def page_data(
    rows: Sequence[Row],
    sounds: Mapping[Recording, Sound | str],
    sources: Mapping[tuple[Recording, float], str],
    facts: dict[str, str],
) -> dict[str, Any]:
    """All that the page's script reads.

    Parameters
    ----------
    rows
        Answers, failures among them.
    sounds
        The sound of recordings, or a sentence that says why there is none.
    sources
        Address of the clip of a recording that starts at a second.
    facts
        What is shown at the top.
    """
    numbers: dict[Recording, int] = {}
    items = [_item(row, numbers.setdefault(recording_of(row), len(numbers))) for row in rows]
    seconds = {recording_of(row): row["audio_seconds"] for row in rows if row["audio_seconds"] is not None}
    recordings = [
        _recording(recording, sounds[recording], sources, seconds.get(recording, 0.0))
        for recording in numbers
    ]
    details = [{"name": c.name, "comment": c.comment, "unit": c.unit} for c in DETAILS]
    return {"facts": facts, "details": details, "recordings": recordings, "items": items}


def _recording(
    recording: Recording,
    sound: Sound | str,
    sources: Mapping[tuple[Recording, float], str],
    audio_seconds: float,
) -> dict[str, Any]:
    address, start = shortened(recording.audio), recording.start or 0.0
    values = {"address": address, "name": address.rsplit("/", 1)[-1], "start": start}
    if not isinstance(sound, Sound):
        return values | {"end": start + audio_seconds, "envelope": [], "clips": [], "note": sound}
    clips = [
        {
            "start": clip.start,
            "end": clip.end,
            "envelope": clip.envelope,
            "source": sources[recording, clip.start],
        }
        for clip in sound.clips
    ]
    return values | {"end": sound.end, "envelope": sound.envelope, "clips": clips, "note": None}


def _item(row: Row, recording: int) -> dict[str, Any]:
    texts = row["evidence_text"] or []
    evidence = itertools.zip_longest(row["evidence"] or [], texts)
    return {
        "id": row["item_id"],
        "recording": recording,
        "outcome": outcome_of(row),
        "question": row["question"] or "",
        "choices": row["choices"],
        "probabilities": row["choice_probabilities"],
        "confidence": _confidence(row),
        "gold": row["answer"],
        "prediction": row["prediction"],
        "text": row["prediction_text"],
        "error": row["error"],
        "error_type": row["error_type"],
        "method": row["point"] or _method(row),
        "benchmark": row["benchmark"],
        "num_kept": row["num_kept_tokens"],
        "num_tokens": row["num_audio_tokens"],
        "tflops": row["tflops_total"],
        "recall": row["evidence_recall"],
        "evidence": [[*span.values(), text] for span, text in evidence],
        "gold_span": _gold_span(row),
        "timeline": [_short(part.values()) for part in row["timeline"] or []],
        "details": [_text(row[column.name]) for column in DETAILS],
    }


def _short(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in values]


def _gold_span(row: Row) -> Seconds | None:
    start, end = (row[name] for name in GOLD_SPAN_COLUMNS)
    return None if start is None or end is None else Seconds(start, end)


def _method(row: Row) -> str:
    rate = "" if row["pruning_rate"] is None else f", rate {row['pruning_rate']:g}"
    return f"{row['method']}{rate}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _confidence(row: Mapping[str, Any]) -> float | None:
    """The probability of the choice that was answered; None for open-ended questions."""
    return max(row["choice_probabilities"]) if row["choice_probabilities"] else None


def _urgency(row: Mapping[str, Any]) -> tuple[int, float, str]:
    return _URGENCY.get(outcome_of(row), len(_URGENCY)), _confidence(row) or 0.0, row["item_id"]


def _facts(path: str, overview: Sequence[Mapping[str, Any]], num_items: int) -> dict[str, str]:
    outcomes = Counter(map(outcome_of, overview))
    failed, judged = outcomes["failed"], outcomes["right"] + outcomes["wrong"]
    facts = {
        "run": shortened(path),
        "model": ", ".join(sorted({shortened(row["model"]) for row in overview if row["model"]})),
        "items": f"{len(overview) - failed:,} answered, {failed:,} failed",
        "recordings": f"{len(set(map(recording_of, overview))):,}",
    }
    if judged:
        facts["accuracy"] = f"{percent(outcomes['right'] / judged)} % of {judged:,}"
    if len(overview) > num_items:
        facts["shown"] = f"{num_items:,} of {len(overview):,} items: wrong, failed, then the least certain"
    return facts
