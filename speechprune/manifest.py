"""Rows in: a manifest of (recording, question) items, read and checked before any work starts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage
from speechprune.config import InputOptions
from speechprune.prompts import LETTERS, MAX_CHOICES
from speechprune.schema import ITEM_COLUMNS, RESERVED_NAMES

NUM_PROBLEMS_SHOWN = 5

# a row of the manifest, by column
Row = dict[str, Any]


class ManifestError(ValueError):
    """A manifest that can't be run; the message names rows and columns."""


@dataclass(frozen=True)
class Manifest:
    """Checked items.

    Parameters
    ----------
    items
        ``ITEM_COLUMNS`` with absolute audio URIs, then the columns that are carried through.
    malformed
        item_id -> what is wrong with the row; such an item becomes a failed row.
    num_repeated
        Rows left out because they say the same as an earlier one.
    """

    items: pa.Table
    malformed: dict[str, str]
    num_repeated: int


def read_manifest(options: InputOptions, audio_folder: str) -> Manifest:
    """Read, resolve and check a manifest.

    Parameters
    ----------
    options
        Where it is and how much of it to take.
    audio_folder
        Where recordings that are embedded as bytes are written out, once each, so that tasks,
        answers and listeners all speak of files.

    Raises
    ------
    ManifestError
        Unreadable, empty, without ``audio`` or ``question``, a choice list of one, a gold answer
        that matches no choice, two different items with one id: rows and values are named.
    """
    rows, base = _read_rows(options)
    if not rows:
        raise ManifestError(f"{options.manifest} has no rows: there is nothing to ask")
    for column in ("audio", "question"):
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
            item = _check_row(row)
        except ManifestError as error:
            problems.append(f"row {number}: {error}")
            continue
        item_id = item["item_id"]
        if item_id in items:
            if _question_of(item) != _question_of(items[item_id]):
                problems.append(f"row {number}: item_id {item_id!r} already names a different item")
            num_repeated += 1
            continue
        if trouble := _malformed(item):
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
    for item in items.values():
        item["audio"] = _locate(item["audio"], base, audio_folder)
    return Manifest(_as_table(list(items.values())), malformed, num_repeated)


def _check_row(row: Row) -> Row:
    """The row with every item column present, ids made and the gold answer as a letter."""
    item = {field.name: row.get(field.name) for field in ITEM_COLUMNS}
    item |= {name: value for name, value in row.items() if name not in item}
    for name in ("start", "end"):
        try:
            item[name] = None if item[name] in (None, "") else float(str(item[name]))
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{name} is {item[name]!r}: give seconds") from error
    if isinstance(item["audio"], dict):  # how datasets stores an Audio column
        item["audio"] = item["audio"].get("bytes") or item["audio"].get("path")
    item["choices"] = _check_choices(item["choices"])
    gold, choices = item["answer"], item["choices"]
    if gold is None or gold == "":
        item["answer"] = None
    else:
        item["answer"] = gold_letter(gold, choices) if choices else str(gold)
    if item["question"] is not None:
        item["question"] = str(item["question"])
    item["item_id"] = str(item["item_id"]) if item["item_id"] not in (None, "") else _hash_of(item)
    return item


def _check_choices(choices: Any) -> list[str] | None:
    if choices is None or choices == "":
        return None
    if isinstance(choices, str):  # a CSV cell
        try:
            choices = json.loads(choices)
        except ValueError:
            choices = [text.strip() for text in choices.split("|")]
    if not isinstance(choices, list | tuple) or not 2 <= len(choices) <= MAX_CHOICES:
        raise ManifestError(
            f"choices is {choices!r}: give a list of 2 to {MAX_CHOICES}, or leave it out for an open question"
        )
    if any(text is None or not str(text).strip() for text in choices):
        raise ManifestError(f"choices is {choices!r}: a choice has no text")
    return [str(text) for text in choices]


def gold_letter(answer: Any, choices: list[str]) -> str:
    """The letter that a gold answer means: a choice's text, its letter, or its index from 0.

    Raises
    ------
    ManifestError
        It matches no choice, or more than one.
    """
    if isinstance(answer, float) and answer.is_integer():  # an int column with nulls
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if 0 <= answer < len(choices):
            return LETTERS[answer]
        raise ManifestError(f"answer {answer} is no index into {len(choices)} choices (from 0)")
    text = str(answer).strip()
    same = [LETTERS[i] for i, choice in enumerate(choices) if choice.strip().casefold() == text.casefold()]
    if len(same) > 1:
        raise ManifestError(f"answer {text!r} matches more than one of the choices {choices}")
    if same:
        return same[0]
    letter = text.strip("().: ").upper()
    if len(letter) == 1 and letter in LETTERS[: len(choices)]:
        return letter
    if text.isdecimal() and int(text) < len(choices):
        return LETTERS[int(text)]
    raise ManifestError(f"answer {text!r} matches none of the choices {choices}")


def _malformed(item: Row) -> str | None:
    """What keeps this one item from being asked; the job goes on without it."""
    if not item["audio"]:
        return "audio is empty: give a URI"
    if not item["question"] or not item["question"].strip():
        return "question is empty: give its text"
    start, end = item["start"] or 0.0, item["end"]
    if start < 0 or (end is not None and end <= start):
        return f"start {item['start']} and end {end} are no slice: give 0 <= start < end"
    return None


def _question_of(item: Row) -> tuple[Any, ...]:
    """All that makes an item what it is, but its id."""
    return tuple(
        tuple(value) if isinstance(value, list) else value
        for value in (item[field.name] for field in ITEM_COLUMNS if field.name != "item_id")
    )


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


def _as_table(items: list[Row]) -> pa.Table:
    fields = [pa.field(field.name, field.type) for field in ITEM_COLUMNS]
    names = dict.fromkeys(name for item in items for name in item)
    columns = [pa.array([item[field.name] for item in items], field.type) for field in fields]
    for name in list(names)[len(fields) :]:
        values = [item.get(name) for item in items]
        try:
            column = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # of mixed types: keep every value, as JSON
            column = pa.array([None if v is None else json.dumps(v, default=str) for v in values])
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        columns.append(column)
        fields.append(pa.field(name, column.type))
    return pa.table(columns, schema=pa.schema(fields))


def _read_rows(options: InputOptions) -> tuple[list[Row], str]:
    """All rows of a manifest, and the folder that its relative audio paths start from."""
    uri = options.manifest
    suffix = Path(uri).suffix.lower()
    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".json": _read_jsonl, ".csv": _read_csv}
    if suffix not in readers and not storage.is_remote(uri) and not Path(uri).is_dir():
        return _read_dataset(options), storage.absolute(".")
    fs, path = storage.filesystem(uri)
    try:
        if suffix in readers:
            return readers[suffix](fs.cat_file(path)), storage.parent(storage.absolute(uri))
        files = sorted(fs.glob(f"{path}/*.parquet"))
        if files:
            rows = [row for file in files for row in _read_parquet(fs.cat_file(file))]
            return rows, storage.absolute(uri)
    except FileNotFoundError as error:
        raise ManifestError(f"input.manifest {uri} does not exist") from error
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ManifestError(f"input.manifest {uri} can't be read: {error}") from error
    return _read_dataset(options), storage.absolute(uri)


def _read_parquet(data: bytes) -> list[Row]:
    rows: list[Row] = pq.read_table(io.BytesIO(data)).to_pylist()
    return rows


def _read_jsonl(data: bytes) -> list[Row]:
    rows = []
    for number, line in enumerate(data.decode().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"line {number} of the manifest is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ManifestError(f"line {number} of the manifest is not a JSON object")
        rows.append(row)
    return _with_all_columns(rows)


def _read_csv(data: bytes) -> list[Row]:
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
    rows = []
    for row in reader:
        if None in row:
            raise ManifestError(f"line {reader.line_num} of the manifest has more cells than the header")
        rows.append({name: value if value != "" else None for name, value in row.items()})
    return rows


def _with_all_columns(rows: list[Row]) -> list[Row]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _read_dataset(options: InputOptions) -> list[Row]:
    import datasets

    name = options.manifest
    try:
        datasets.disable_progress_bars()
        if (Path(name) / "state.json").is_file() or (Path(name) / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(name)
            dataset = loaded[options.split] if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            dataset = datasets.load_dataset(name, split=options.split)
    except Exception as error:  # the hub client raises many kinds: all mean that there is no such manifest
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ManifestError(
            f"input.manifest {name} is neither a file here nor a dataset that can be loaded ({reason})"
        ) from error
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Audio):
            dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    return list(_limited(dataset, options.limit))


def _limited(rows: Iterable[Row], limit: int | None) -> Iterable[Row]:
    for number, row in enumerate(rows):
        if number == limit:
            return
        yield row
