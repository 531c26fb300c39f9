"""Manifest reader: (recording, question) items, read and checked before any work starts."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage
from speechprune.data import Row
from speechprune.data.choices import gold_letter, read_choices
from speechprune.data.columns import GOLD_SPAN_COLUMNS, ITEM_COLUMNS, RESERVED_NAMES
from speechprune.data.row_files import ManifestError, Source
from speechprune.data.sources import InputOptions, read_source

NUM_PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class Manifest:
    """Checked items."""

    items: pa.Table  # ``ITEM_COLUMNS`` with absolute audio URIs, then the columns that are carried through
    malformed: dict[str, str]  # item_id -> what is wrong with the row; such an item becomes a failed row
    num_repeated: int  # rows left out because they say the same as an earlier one


def make_manifest(rows: list[Row], carried: Sequence[pa.Field] = ()) -> Manifest:
    """Items that a job makes itself, with the columns that they carry beside ``ITEM_COLUMNS``."""
    fields = [*(pa.field(field.name, field.type) for field in ITEM_COLUMNS), *carried]
    return Manifest(pa.Table.from_pylist(rows, schema=pa.schema(fields)), {}, 0)


def read_manifest(options: InputOptions, audio_folder: str, *, needs_audio: bool = True) -> Manifest:
    """Read, resolve and check a manifest.

    - ``audio_folder``: where recordings that are embedded as bytes are written out, once each, so that tasks,
      answers and listeners all speak of files.
    - ``needs_audio``: whether an item must name a recording; a search asks none in particular.

    Raises
    ------
    ManifestError
        Unreadable, empty, without ``audio`` or ``question``, a choice list of one, a gold answer
        that matches no choice, two different items with one id: rows and values are named.
    """
    return check_manifest(read_source(options), options, audio_folder, needs_audio=needs_audio)


def check_manifest(
    source: Source, options: InputOptions, audio_folder: str, *, needs_audio: bool = True
) -> Manifest:
    """Resolve and check rows that were read, see ``read_manifest``; sentences name ``options.manifest``."""
    rows = source.rows
    if not rows:
        raise ManifestError(f"{options.manifest} has no rows: there is nothing to ask")
    for column in ("audio", "question") if needs_audio else ("question",):
        if column not in rows[0]:
            raise ManifestError(
                f"{options.manifest} has no column {column}; it has {', '.join(rows[0])}. "
                "A manifest needs audio and question"
            )
    clashing = sorted(set(rows[0]) & RESERVED_NAMES - {field.name for field in ITEM_COLUMNS})
    if clashing:
        raise ManifestError(
            f"{options.manifest}: rename {', '.join(clashing)}: answers have columns so named"
        )
    items: dict[str, Row] = {}
    malformed: dict[str, str] = {}
    problems: list[str] = []
    num_repeated = 0
    for number, row in enumerate(rows, start=1):
        try:
            item = read_row(row, options.track)
        except ManifestError as error:
            problems.append(f"row {number}: {error}")
            continue
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
            problems.append(f"row {number}: its text is not valid Unicode")
            continue
        item_id = item["item_id"]
        if item_id in items:
            if _question_of(item) != _question_of(items[item_id]):
                problems.append(f"row {number}: item_id {item_id!r} already names a different item")
            num_repeated += 1
            continue
        if trouble := _malformed(item, needs_audio):
            malformed[item_id] = trouble
        items[item_id] = item
        if options.limit is not None and len(items) == options.limit:
            break
    if problems:
        shown = "; ".join(problems[:NUM_PROBLEMS_SHOWN])
        more = (
            f"; and {len(problems) - NUM_PROBLEMS_SHOWN} more" if len(problems) > NUM_PROBLEMS_SHOWN else ""
        )
        raise ManifestError(f"{options.manifest}: {shown}{more}")
    for item_id, item in items.items():
        is_embedded = isinstance(item["audio"], bytes)
        try:
            item["audio"] = _locate(item["audio"], source.base, audio_folder)
        except storage.StorageError as error:
            raise ManifestError(
                f"{options.manifest}: its embedded audio can't be written to {error}"
            ) from error
        uri, roots = item["audio"], options.audio_roots
        if uri and not is_embedded and roots is not None and not storage.is_within(uri, roots):
            malformed[item_id] = f"audio {uri} lies outside of input.audio_roots and is not opened"
    return Manifest(_as_table(list(items.values()), source.column_types), malformed, num_repeated)


def read_row(row: Row, track: int | None) -> Row:
    """The row of a manifest with every item column present, ids made and the gold answer as a letter.

    ``track``: of items without one of their own.
    """
    item = {field.name: row.get(field.name) for field in ITEM_COLUMNS}
    item |= {name: value for name, value in row.items() if name not in item}
    for name in ("start", "end"):
        try:
            item[name] = _seconds(item[name])
        except ValueError as error:
            raise ManifestError(f"{name} is {item[name]!r}: give seconds") from error
    item["track"] = _track(item["track"], track)
    if isinstance(item["audio"], dict):  # how datasets stores an Audio column
        item["audio"] = item["audio"].get("bytes") or item["audio"].get("path")
    choices = read_choices(item["choices"])
    item["choices"] = choices and [str(choice) for choice in choices]
    gold = item["answer"]
    if gold is None or gold == "":
        item["answer"] = None
    else:
        item["answer"] = gold_letter(gold, choices) if choices else str(gold)
    if item["question"] is not None:
        item["question"] = str(item["question"])
    item["item_id"] = str(item["item_id"]) if item["item_id"] not in (None, "") else _hash_of(item)
    return item


def _track(cell: Any, default: int | None) -> int | None:
    if cell in (None, ""):
        return default
    number = _seconds(cell) if str(cell).replace(".", "").isdecimal() else None
    if number is None or not number.is_integer():
        raise ManifestError(
            f"track is {cell!r}: give the number of an audio track, from 0; "
            "rename the column if it means something else"
        )
    return int(number)


def _seconds(cell: Any) -> float | None:
    """A number, or None for an empty cell; ValueError for anything else."""
    return None if cell in (None, "") else float(str(cell))


def _malformed(item: Row, needs_audio: bool) -> str | None:
    """What keeps this one item from being asked; the job goes on without it."""
    if needs_audio and not item["audio"]:
        return "audio is empty: give a URI"
    if not item["question"] or not item["question"].strip():
        return "question is empty: give its text"
    start, end = item["start"] or 0.0, item["end"]
    if not 0 <= start < (math.inf if end is None else end) or end == math.inf:
        return f"start {item['start']} and end {end} are no slice: give 0 <= start < end"
    return _malformed_gold_span(*(item.get(name) for name in GOLD_SPAN_COLUMNS))


def _malformed_gold_span(start: Any, end: Any) -> str | None:
    seconds = [number for number in map(_gold_seconds, (start, end)) if number is not None]
    if seconds and not (len(seconds) == 2 and 0 <= seconds[0] < seconds[1] < math.inf):
        return (
            f"evidence_start {start!r} and evidence_end {end!r} are no span: give seconds of the recording, "
            "0 <= evidence_start < evidence_end, or neither"
        )
    return None


def _gold_seconds(cell: Any) -> float | None:
    """As ``_seconds``, but NaN for what is no number: it spoils its row, not the whole manifest."""
    try:
        return _seconds(cell)
    except ValueError:
        return math.nan


def _question_of(item: Row) -> tuple[Any, ...]:
    """All that makes an item what it is, but its id."""
    return tuple(
        tuple(value) if isinstance(value, list) else value
        for value in (item[field.name] for field in ITEM_COLUMNS if field.name not in ("item_id", "track"))
    ) + ((item["track"],) if item["track"] is not None else ())  # ids are older than tracks


def _hash_of(item: Row) -> str:
    """A stable id of a row without one. The audio counts as written, so a moved archive keeps its ids."""
    parts = [
        hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
        for value in _question_of(item)
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def _locate(audio: Any, base: str, audio_folder: str) -> str:
    """An absolute URI; embedded bytes are written out first."""
    if not isinstance(audio, bytes):
        return storage.resolve(str(audio), base) if audio else ""
    uri = storage.join(audio_folder, hashlib.sha256(audio).hexdigest()[:24])
    fs, path = storage.filesystem(uri)
    if not fs.exists(path):
        storage.write_bytes(uri, audio)
    return uri


def _as_table(items: list[Row], column_types: dict[str, pa.DataType]) -> pa.Table:
    fields = [pa.field(field.name, field.type) for field in ITEM_COLUMNS]
    columns = [pa.array([item[field.name] for item in items], field.type) for field in fields]
    names = dict.fromkeys(name for item in items for name in item)
    for name in list(names)[len(fields) :]:
        values = [item.get(name) for item in items]
        if name in GOLD_SPAN_COLUMNS:
            column = pa.array([_gold_seconds(value) for value in values], pa.float64(), from_pandas=True)
        else:
            column = _carried_column(values, column_types.get(name))
        columns.append(column)
        fields.append(pa.field(name, column.type))
    return pa.table(columns, schema=pa.schema(fields))


def _carried_column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """A column in the type it came with, or as JSON where Parquet has no type for all of its values."""
    try:
        column = pa.array(values, kind)
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        pq.write_table(pa.schema([("carried", column.type)]).empty_table(), io.BytesIO())
        return column
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.array([None if value is None else json.dumps(value, default=str) for value in values])
