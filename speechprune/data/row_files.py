"""Rows of the files that a manifest may be: Parquet, JSON Lines, JSON, CSV, TSV, or a folder of them."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage
from speechprune.data import Row


class ManifestError(ValueError):
    """A manifest that can't be run; the message names rows and columns."""


@dataclass(frozen=True)
class Source:
    """A manifest as it was read, nothing checked."""

    rows: list[Row]  # all with the same columns
    base: str  # the folder that relative audio paths start from
    # Arrow types of the columns, where the format knows them
    column_types: dict[str, pa.DataType] = field(default_factory=dict)


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


def read_files(files: dict[str, Row], base: str) -> Source:
    """Read the files that ``files_of`` returns; ``base`` is where relative addresses start from.

    Raises
    ------
    ManifestError
        A file is not of its format, or has two columns of one name.
    """
    rows: list[Row] = []
    schemas = []
    for file, columns in files.items():
        try:
            more, schema = READERS[Path(file).suffix.lower()](storage.read_bytes(file))
        except ManifestError as error:
            raise ManifestError(f"input.manifest {file}: {error}") from error
        rows += [columns | row for row in more]
        schemas.append(schema)
    # views, which DataFusion and Polars write, are no types that rows can be taken from
    schema = pa.unify_schemas([_without_views(schema) for schema in schemas], promote_options="permissive")
    names = dict.fromkeys(name for row in rows for name in row)
    return Source(
        [{name: row.get(name) for name in names} for row in rows],
        base,
        dict(zip(schema.names, schema.types, strict=True)),
    )


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
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ManifestError(f"two columns are named {twice!r}: rename one")


def _read_parquet(data: bytes) -> tuple[list[Row], pa.Schema]:
    file = pq.ParquetFile(io.BytesIO(data))
    _refuse_repeated(file.schema_arrow.names)
    table = file.read()
    return table.to_pylist(), table.schema


def _read_json_lines(data: bytes) -> tuple[list[Row], pa.Schema]:
    # split at newlines alone: JSON text may hold the other characters that splitlines() breaks at
    lines = enumerate(data.decode("utf-8-sig").split("\n"), start=1)
    rows = [_json_row(_load_json(line, f"line {n}"), f"line {n}") for n, line in lines if line.strip()]
    return rows, pa.schema([])


def _read_json(data: bytes) -> tuple[list[Row], pa.Schema]:
    """Read an array of objects, as pandas' to_json(orient="records") writes it, or JSON Lines."""
    text = data.decode("utf-8-sig")
    if not text.lstrip().startswith("["):
        return _read_json_lines(data)
    values = _load_json(text, "it")
    return [_json_row(value, f"entry {n}") for n, value in enumerate(values, start=1)], pa.schema([])


def _load_json(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except ManifestError as error:
        raise ManifestError(f"{place}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place} is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> Row:
    _refuse_repeated([name for name, _ in pairs])
    return dict(pairs)


def _json_row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ManifestError(f"{place} is not a JSON object")
    return value


def _read_csv(data: bytes, delimiter: str = ",") -> tuple[list[Row], pa.Schema]:
    csv.field_size_limit(sys.maxsize)  # a transcript in a carried column is longer than its 128 KiB
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), delimiter=delimiter)
    _refuse_repeated(reader.fieldnames or [])
    rows = []
    for row in reader:
        if None in row:
            raise ManifestError(f"line {reader.line_num} has more cells than the header")
        rows.append({name: value if value != "" else None for name, value in row.items()})
    return rows, pa.schema([])


# each returns rows, and the types of those columns whose types the format knows
READERS: dict[str, Callable[[bytes], tuple[list[Row], pa.Schema]]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
}
