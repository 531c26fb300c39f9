"""Where a manifest's rows come from: Parquet, JSONL, CSV files anywhere, or a Hugging Face dataset."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechprune import storage
from speechprune.data import Row


class ManifestError(ValueError):
    """A manifest that can't be run; the message names rows and columns."""


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What is asked of what.

    Parameters
    ----------
    manifest
        Parquet, JSONL or CSV file (local or any fsspec URL), a folder of Parquet files, or a
        Hugging Face dataset by hub id or folder.
    split
        Split of a Hugging Face dataset.
    limit
        Number of items to read, from the first; default: all.
    index
        Index of ``jobs/index_archive.py``: recordings that it holds are neither decoded nor encoded.
    """

    manifest: str
    split: str = "test"
    limit: int | None = None
    index: str | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}: give at least 1, or null for all items")


@dataclass(frozen=True)
class Source:
    """A manifest as it was read, nothing checked."""

    rows: list[Row]  # all with the same columns
    base: str  # the folder that relative audio paths start from
    # Arrow types of the columns, where the format knows them
    column_types: dict[str, pa.DataType] = field(default_factory=dict)


def read_source(options: InputOptions) -> Source:
    """Read every row of a manifest.

    Raises
    ------
    ManifestError
        It does not exist or can't be read.
    """
    uri = options.manifest
    suffix = Path(uri).suffix.lower()
    readers = {".jsonl": _read_jsonl, ".json": _read_jsonl, ".csv": _read_csv}
    is_file = suffix in readers or suffix == ".parquet"
    if not is_file and not storage.is_remote(uri) and not Path(uri).is_dir():
        return _read_dataset(options, storage.absolute("."))
    try:
        if suffix in readers:
            return Source(readers[suffix](storage.read_bytes(uri)), storage.parent(storage.absolute(uri)))
        if suffix == ".parquet":
            return _read_parquet([storage.read_bytes(uri)], storage.parent(storage.absolute(uri)))
        files = storage.files_in(uri, ".parquet")
        if files:
            return _read_parquet([storage.read_bytes(file) for file in files], storage.absolute(uri))
    except FileNotFoundError as error:
        raise ManifestError(f"input.manifest {uri} does not exist") from error
    except (storage.StorageError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"input.manifest {uri} can't be read: {error}") from error
    return _read_dataset(options, storage.absolute(uri))


def _read_parquet(files: list[bytes], base: str) -> Source:
    tables = [pq.read_table(io.BytesIO(data)) for data in files]
    table = pa.concat_tables(tables, promote_options="permissive")
    return Source(table.to_pylist(), base, dict(zip(table.column_names, table.schema.types, strict=True)))


def _read_jsonl(data: bytes) -> list[Row]:
    rows = []
    # split at newlines alone: JSON text may hold the other characters that splitlines() breaks at
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"line {number} of the manifest is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ManifestError(f"line {number} of the manifest is not a JSON object")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _read_csv(data: bytes) -> list[Row]:
    csv.field_size_limit(sys.maxsize)  # a transcript in a carried column is longer than its 128 KiB
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
    rows = []
    for row in reader:
        if None in row:
            raise ManifestError(f"line {reader.line_num} of the manifest has more cells than the header")
        rows.append({name: value if value != "" else None for name, value in row.items()})
    return rows


def _read_dataset(options: InputOptions, base: str) -> Source:
    import datasets

    name = options.manifest
    try:
        datasets.disable_progress_bars()
        if (Path(name) / "state.json").is_file() or (Path(name) / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(name)
            dataset = _split_of(loaded, options) if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            dataset = datasets.load_dataset(name, split=options.split)
    except ManifestError:
        raise
    except Exception as error:  # the hub client raises many kinds: all mean that there is no such manifest
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ManifestError(
            f"input.manifest {name} is neither a file here nor a dataset that can be loaded ({reason})"
        ) from error
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Audio):
            dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    schema = dataset.features.arrow_schema
    rows = list(itertools.islice(dataset, options.limit))
    return Source(rows, base, dict(zip(schema.names, schema.types, strict=True)))


def _split_of(loaded: dict[str, Any], options: InputOptions) -> Any:
    if options.split not in loaded:
        raise ManifestError(
            f"input.manifest {options.manifest} has no split {options.split}: set input.split to one of "
            f"{', '.join(loaded)}"
        )
    return loaded[options.split]
