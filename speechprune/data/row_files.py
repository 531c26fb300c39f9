"""Rows of the files that a manifest may be: Parquet, JSON Lines, JSON, CSV, TSV, or a folder of them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage
from speechprune.data import Row


class ManifestError(ValueError):
    """A manifest that can't be run; the message names rows and columns."""


ROWS_AT_A_TIME = 50_000  # that are Python objects while a manifest is read
_START_BYTES = 1 << 16  # of a file: more than its white space
READ_BYTES = 8 << 20  # fetched at a time from an object store
Batch = tuple[list[Row], pa.Schema]  # some rows, and types of those columns whose types the format knows


@dataclass(frozen=True)
class Source:
    """A manifest that is read as it is iterated over, nothing checked."""

    batches: Iterable[Batch]
    base: str  # the folder that relative audio paths start from

    @property
    def rows(self) -> Iterator[Row]:
        """The rows, one by one."""
        return (row for batch, _ in self.batches for row in batch)


def files_of(uri: str, suffixes: tuple[str, ...]) -> dict[str, Row]:
    """Return the files of a manifest, each with the columns that its folders name; one file alone is itself.

    Folders within are read where they are Hive partitions (``day=2026-11-27``), as Spark and Ray Data write
    them; names that begin with ``_`` or ``.`` are theirs.
    """
    fs, path = storage.filesystem(uri)
    with storage.storage_errors(uri):
        if fs.info(path)["type"] == "file":
            return {uri: {}}
        files: dict[str, Row] = {}
        for folder, folders, names in fs.walk(path, on_error="raise"):
            folders[:] = sorted(name for name in folders if "=" in name and name[0] not in "_.")
            below = [part for part in folder.removeprefix(path).split("/") if part]
            columns = dict(_partition(part) for part in below)
            for name in sorted(names):
                if name.lower().endswith(suffixes) and name[0] not in "_.":
                    place = f"{folder.rstrip('/')}/{name}"
                    files[fs.unstrip_protocol(place) if storage.is_remote(uri) else place] = columns
    return files


def _partition(folder: str) -> tuple[str, str | None]:
    name, _, value = folder.partition("=")
    return unquote(name), None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)


def read_files(files: dict[str, Row]) -> Iterator[Batch]:
    """Read the files that ``files_of`` returns.

    Raises
    ------
    ManifestError
        A file is not of its format, or has two columns of one name.
    """
    for file, columns in files.items():
        try:
            with storage.storage_errors(file), storage.open_binary(file, block_bytes=READ_BYTES) as handle:
                for rows, schema in READERS[Path(file).suffix.lower()](handle):
                    # views, which DataFusion and Polars write, are no types that rows can be taken from
                    yield [columns | row for row in rows] if columns else rows, _without_views(schema)
        except ManifestError as error:
            raise ManifestError(f"input.manifest {file}: {error}") from error


def _without_views(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type with the same values that every operation on columns supports."""
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind) or pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)), kind.list_size)
    return kind


def _refuse_repeated(names: Sequence[str]) -> None:
    """Refuse a name that two columns have: one of them would be lost."""
    if len(set(names)) == len(names):
        return
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ManifestError(f"two columns are named {twice!r}: rename one")


def _text(file: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, "utf-8-sig", newline="\n")


def _in_batches(rows: Iterable[Row]) -> Iterator[Batch]:
    left = iter(rows)
    while batch := list(itertools.islice(left, ROWS_AT_A_TIME)):
        yield batch, pa.schema([])


def _read_parquet(file: IO[bytes]) -> Iterator[Batch]:
    parquet = pq.ParquetFile(file)
    _refuse_repeated(parquet.schema_arrow.names)
    for batch in parquet.iter_batches(ROWS_AT_A_TIME):
        yield batch.to_pylist(), batch.schema


def _read_json_lines(file: IO[bytes]) -> Iterator[Batch]:
    # ends of lines are newlines alone: JSON text may hold the other characters that splitlines() breaks at
    lines = ((f"line {n}", line) for n, line in enumerate(_text(file), start=1) if line.strip())
    return _in_batches(_json_row(_load_json(line, place), place) for place, line in lines)


def _read_json(file: IO[bytes]) -> Iterator[Batch]:
    """Read an array of objects, as pandas' to_json(orient="records") writes it, or JSON Lines."""
    start = file.read(_START_BYTES).decode("utf-8-sig", "ignore")
    file.seek(0)
    if not start.lstrip().startswith("["):
        return _read_json_lines(file)
    values = _load_json(file.read().decode("utf-8-sig"), "it")
    return _in_batches(_json_row(value, f"entry {n}") for n, value in enumerate(values, start=1))


def _load_json(text: str, place: str) -> Any:
    try:
        return _JSON.decode(text)
    except ManifestError as error:
        raise ManifestError(f"{place}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place} is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> Row:
    if len(row := dict(pairs)) < len(pairs):
        _refuse_repeated([name for name, _ in pairs])
    return row


_JSON = json.JSONDecoder(object_pairs_hook=_object)


def _json_row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ManifestError(f"{place} is not a JSON object")
    return value


def _read_csv(file: IO[bytes], delimiter: str = ",") -> Iterator[Batch]:
    csv.field_size_limit(sys.maxsize)  # a transcript in a carried column is longer than its 128 KiB
    reader = csv.DictReader(_text(file), delimiter=delimiter)
    _refuse_repeated(reader.fieldnames or [])

    def rows() -> Iterator[Row]:
        for row in reader:
            if None in row:
                raise ManifestError(f"line {reader.line_num} has more cells than the header")
            yield {name: value if value != "" else None for name, value in row.items()}

    return _in_batches(rows())


READERS: dict[str, Callable[[IO[bytes]], Iterator[Batch]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
}
