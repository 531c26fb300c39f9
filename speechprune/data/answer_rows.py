"""Rows of answers: every value is made from one record, by the column's own function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from speechprune.data.columns import ANSWER_COLUMNS, COLUMN_NAMES, COLUMNS, GOLD_SPAN_COLUMNS, ITEM_COLUMNS
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.evidence import are_nominal, evidence_recall
from speechprune.inference.point import Point
from speechprune.inference.types import Answer


@dataclass(frozen=True)
class Failure:
    """Why an item has no answer: the kind of error, and a sentence that says what to do."""

    error_type: str
    error: str


@dataclass(frozen=True, kw_only=True)
class AnswerRecord:
    """All that the values of one row are made from."""

    # the item's columns by name: ``ITEM_COLUMNS``, and ``GOLD_SPAN_COLUMNS`` where the manifest has them
    item: Mapping[str, Any]
    outcome: Answer | Failure
    point: Point
    model_name: str
    audio: EncodedAudio | None  # the encoded recording; None where it could not be encoded
    seconds_decode_audio: float  # this item's share
    # the letter that was answered without audio; None where that was not asked
    no_audio_prediction: str | None
    finished_at: datetime

    @property
    def status(self) -> str:
        """``ok`` or ``failed``: the partition that the row is written to."""
        return "failed" if isinstance(self.outcome, Failure) else "ok"

    @property
    def answer(self) -> Answer:
        """The answer of a row with ``status=ok``."""
        assert isinstance(self.outcome, Answer)
        return self.outcome

    @property
    def failure(self) -> Failure:
        """The error of a row with ``status=failed``."""
        assert isinstance(self.outcome, Failure)
        return self.outcome

    def is_gold(self, letter: str | None) -> bool | None:
        """Whether a letter is the gold one; None without a letter, without gold, and for free text."""
        if letter is None or self.item["answer"] is None or self.answer.choice_probabilities is None:
            return None
        return bool(letter == self.item["answer"])

    @property
    def evidence_recall(self) -> float | None:
        """Share of the gold span's audio tokens that were kept.

        None where the manifest has no span, and of tokens that have no time inside their window.
        """
        start, end = (self.item.get(name) for name in GOLD_SPAN_COLUMNS)
        if start is None or end is None or self.audio is None:
            return None
        if are_nominal(self.audio.times, self.audio.frame_starts):
            return None
        return evidence_recall(self.answer.kept_indices, self.audio.times, (start, end))

    def row(self) -> dict[str, Any]:
        """Values by column; columns that rows of this status have no value for are absent."""
        return {
            column.name: column.value(self)
            for column in COLUMNS
            if column.value is not None and column.status in (self.status, "both")
        }


def answer_rows(
    items: pa.Table,
    outcomes: Sequence[Answer | Failure],
    *,
    point: Point,
    model_name: str,
    audio: EncodedAudio | None,
    seconds_decode_audio: float,
    no_audio_predictions: Mapping[str, str],
) -> pa.Table:
    """Rows of some items of one recording at one point, ``status`` last.

    - ``items``: as they are written: ``ITEM_COLUMNS`` and all columns that are carried through.
    - ``seconds_decode_audio``: of the whole recording; split evenly among the items.
    """
    known = {field.name for field in ITEM_COLUMNS} | set(GOLD_SPAN_COLUMNS)
    own = items.select([name for name in items.column_names if name in known]).to_pylist()
    now = datetime.now(UTC)
    records = [
        AnswerRecord(
            item=item,
            outcome=outcome,
            point=point,
            model_name=model_name,
            audio=audio,
            seconds_decode_audio=seconds_decode_audio / len(outcomes),
            no_audio_prediction=no_audio_predictions.get(item["item_id"]),
            finished_at=now,
        )
        for item, outcome in zip(own, outcomes, strict=True)
    ]
    table = answers_table([record.row() for record in records], items)
    return table.append_column("status", pa.array([record.status for record in records], pa.string()))


def answers_table(rows: Sequence[Mapping[str, Any]], items: pa.Table) -> pa.Table:
    """Rows of answers joined to their items, item columns first, carried columns last.

    - ``rows``: one dict of ``ANSWER_COLUMNS`` per item, in the items' order; absent columns become null.
    - ``items``: ``ITEM_COLUMNS`` and whatever other columns the manifest had.
    """
    made = pa.Table.from_pylist(rows, schema=pa.schema(ANSWER_COLUMNS))
    own = items.select([field.name for field in ITEM_COLUMNS]).cast(pa.schema(ITEM_COLUMNS))
    carried = [name for name in items.column_names if name not in COLUMN_NAMES]
    columns = [*own.columns, *made.columns, *(items.column(name) for name in carried)]
    fields = [*own.schema, *made.schema, *(items.schema.field(name) for name in carried)]
    return pa.table(columns, schema=pa.schema(fields))
