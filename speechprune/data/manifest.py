"""Manifest reader: (recording, question) items, read and checked before any work starts."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune import storage
from speechprune.data import Row, collector_paused
from speechprune.data.choices import gold_letter, read_choices
from speechprune.data.columns import GOLD_SPAN_COLUMNS, ITEM_COLUMNS, RECORDING_COLUMNS, RESERVED_NAMES
from speechprune.data.disk_rows import DiskFile, DiskRows
from speechprune.data.item_tables import ItemTables, gold_seconds, seconds_in
from speechprune.data.row_files import ROWS_AT_A_TIME, ManifestError, Source
from speechprune.data.row_keys import KIND, KeySet, hash_rows, hash_values
from speechprune.data.sources import InputOptions, read_source

NUM_PROBLEMS_SHOWN = 5
ITEM_NAMES = tuple(field.name for field in ITEM_COLUMNS)
_QUESTION_NAMES = tuple(name for name in ITEM_NAMES if name not in ("item_id", "track"))


@dataclass(frozen=True)
class Manifest:
    """Checked items."""

    items: pa.Table  # ``ITEM_COLUMNS`` with absolute audio URIs, then the columns that are carried through
    malformed: dict[str, str]  # item_id -> what is wrong with the row; such an item becomes a failed row
    num_repeated: int  # rows left out because they say the same as an earlier one
    disk: DiskFile | None = None  # that the items are in; None where they are in memory

    @cached_property
    def rows(self) -> DiskRows:
        """The items, to be read a part at a time."""
        return DiskRows(self.items, self.disk)

    @cached_property
    def ids(self) -> np.ndarray:
        """Hash of every item's id."""
        return hash_rows(self.rows, ["item_id"])

    @cached_property
    def recordings(self) -> np.ndarray:
        """Hash of every item's recording, or its slice."""
        return hash_rows(self.rows, RECORDING_COLUMNS)


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
    checked = _CheckedRows(options, source.base, audio_folder, needs_audio)
    with collector_paused():
        for rows, schema in source.batches:
            checked.add(rows, schema)
            if checked.is_full:
                break
    names, problems = checked.names, checked.problems
    if not names:
        raise ManifestError(f"{options.manifest} has no rows: there is nothing to ask")
    for column in ("audio", "question") if needs_audio else ("question",):
        if column not in names:
            raise ManifestError(
                f"{options.manifest} has no column {column}; it has {', '.join(names)}. "
                "A manifest needs audio and question"
            )
    clashing = sorted(set(names) & RESERVED_NAMES - {field.name for field in ITEM_COLUMNS})
    if clashing:
        raise ManifestError(
            f"{options.manifest}: rename {', '.join(clashing)}: answers have columns so named"
        )
    keep = checked.first_rows()
    if problems:
        shown = "; ".join(f"row {number}: {text}" for number, text in sorted(problems)[:NUM_PROBLEMS_SHOWN])
        more = (
            f"; and {len(problems) - NUM_PROBLEMS_SHOWN} more" if len(problems) > NUM_PROBLEMS_SHOWN else ""
        )
        raise ManifestError(f"{options.manifest}: {shown}{more}")
    items = checked.tables.joined()
    num_repeated = int((~keep).sum())
    places = [place for place in checked.malformed if keep[place]]
    malformed = {
        item_id: checked.malformed[place]
        for item_id, place in zip(checked.tables.ids(places), places, strict=True)
    }
    disk = checked.tables.disk
    if num_repeated:
        every, disk = DiskRows(items, disk), DiskFile()
        for some in np.array_split(np.flatnonzero(keep), -(-len(keep) // ROWS_AT_A_TIME)):
            disk.add(every.take(some))
        items = pa.concat_tables(disk.tables)
    return Manifest(items, malformed, num_repeated, disk)


class _CheckedRows:
    """Rows of a manifest that were checked: items as Arrow tables, and what is wrong with the others."""

    def __init__(self, options: InputOptions, base: str, audio_folder: str, needs_audio: bool) -> None:
        self._options, self._base, self._audio_folder = options, base, audio_folder
        self._needs_audio = needs_audio
        self.names: dict[str, None] = {}  # of all columns, in order
        self.tables = ItemTables()
        self.malformed: dict[int, str] = {}  # place of the item, and what is wrong with it
        self.problems: list[tuple[int, str]] = []  # number of the row, and what is wrong with it
        self._num_rows = 0
        # of every item: number of its row, hash of its id and of what makes it what it is
        self._numbers = array("q")
        self._ids, self._questions = bytearray(), bytearray()
        self._seen: set[str] = set()  # ids, where there is a limit

    @property
    def is_full(self) -> bool:
        """Whether there are as many items as the limit."""
        return self._options.limit is not None and len(self._seen) >= self._options.limit

    def add(self, rows: list[Row], schema: pa.Schema) -> None:
        """Check some rows; embedded audio is written out while no row has a problem."""
        own_names = dict.fromkeys(name for row in rows for name in row)
        self.names |= own_names
        items, questions = [], []
        for row in rows:
            self._num_rows += 1
            try:
                if len(row) < len(own_names):
                    row = {name: row.get(name) for name in own_names}
                item = read_row(row, self._options.track)
                question = _hashable(_question_of(item))
            except ManifestError as error:
                self.problems.append((self._num_rows, str(error)))
                continue
            except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
                self.problems.append((self._num_rows, "its text is not valid Unicode"))
                continue
            self._check(item)
            self._numbers.append(self._num_rows)
            items.append(item)
            questions.append(question)
            if self._options.limit is not None:
                self._seen.add(item["item_id"])
                if self.is_full:
                    break
        self._ids += hash_values((item["item_id"],) for item in items).tobytes()
        self._questions += hash_values(questions).tobytes()
        if items:
            self.tables.add(items, dict(zip(schema.names, schema.types, strict=True)))

    def _check(self, item: Row) -> None:
        """Resolve the item's audio, and note what keeps it from being asked."""
        if trouble := _malformed(item, self._needs_audio):
            self.malformed[len(self._numbers)] = trouble
        is_embedded = isinstance(item["audio"], bytes)
        if is_embedded and self.problems:
            return
        try:
            item["audio"] = _locate(item["audio"], self._base, self._audio_folder)
        except storage.StorageError as error:
            raise ManifestError(
                f"{self._options.manifest}: its embedded audio can't be written to {error}"
            ) from error
        uri, roots = item["audio"], self._options.audio_roots
        if uri and not is_embedded and roots is not None and not storage.is_within(uri, roots):
            self.malformed[len(self._numbers)] = (
                f"audio {uri} lies outside of input.audio_roots and is not opened"
            )

    def first_rows(self) -> np.ndarray:
        """Whether each item repeats no earlier one; other items of the same id become problems."""
        ids, questions = (np.frombuffer(data, KIND) for data in (self._ids, self._questions))
        unique = KeySet(ids)
        firsts = unique.rows(ids)
        for place in np.flatnonzero(questions != questions[firsts]).tolist():
            (item_id,) = self.tables.ids([place])
            self.problems.append(
                (self._numbers[place], f"item_id {item_id!r} already names a different item")
            )
        return firsts == np.arange(len(firsts))


def read_row(row: Row, track: int | None) -> Row:
    """The row of a manifest with every item column present, ids made and the gold answer as a letter.

    ``track``: of items without one of their own.
    """
    item = {name: row.get(name) for name in ITEM_NAMES}
    item |= {name: value for name, value in row.items() if name not in item}
    for name in ("start", "end"):
        try:
            item[name] = seconds_in(item[name])
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
    number = seconds_in(cell) if str(cell).replace(".", "").isdecimal() else None
    if number is None or not number.is_integer():
        raise ManifestError(
            f"track is {cell!r}: give the number of an audio track, from 0; "
            "rename the column if it means something else"
        )
    return int(number)


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
    seconds = [number for number in map(gold_seconds, (start, end)) if number is not None]
    if seconds and not (len(seconds) == 2 and 0 <= seconds[0] < seconds[1] < math.inf):
        return (
            f"evidence_start {start!r} and evidence_end {end!r} are no span: give seconds of the recording, "
            "0 <= evidence_start < evidence_end, or neither"
        )
    return None


def _question_of(item: Row) -> tuple[Any, ...]:
    """All that makes an item what it is, but its id."""
    values = [item[name] for name in _QUESTION_NAMES]
    track = [] if item["track"] is None else [item["track"]]  # ids are older than tracks
    return tuple(tuple(value) if isinstance(value, list) else value for value in values + track)


def _hash_of(item: Row) -> str:
    """A stable id of a row without one. The audio counts as written, so a moved archive keeps its ids."""
    parts = _hashable(_question_of(item))
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def _hashable(question: tuple[Any, ...]) -> tuple[Any, ...]:
    """With the digest of embedded audio in its place."""
    return tuple(hashlib.sha256(part).hexdigest() if isinstance(part, bytes) else part for part in question)


def _locate(audio: Any, base: str, audio_folder: str) -> str:
    """An absolute URI; embedded bytes are written out first."""
    if not isinstance(audio, bytes):
        return storage.resolve(str(audio), base) if audio else ""
    uri = storage.join(audio_folder, hashlib.sha256(audio).hexdigest()[:24])
    fs, path = storage.filesystem(uri)
    if not fs.exists(path):
        storage.write_bytes(uri, audio)
    return uri
