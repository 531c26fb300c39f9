"""Where a manifest's rows come from: Parquet, JSON, CSV files anywhere, or a Hugging Face dataset."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprune import storage
from speechprune.data.row_files import (
    READERS,
    ROWS_AT_A_TIME,
    Batch,
    ManifestError,
    Source,
    files_of,
    read_files,
)


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What is asked of what.

    Parameters
    ----------
    manifest
        Parquet, JSON (Lines or an array), CSV or TSV file (local or any fsspec URL), a folder of Parquet
        files, or a Hugging Face dataset by hub id or folder.
    track
        Number of the audio track, from 0, of items without one of their own; default: the file's default.
    split
        Split of a Hugging Face dataset.
    limit
        Number of items to read, from the first; default: all.
    index
        Index of ``jobs/index_archive.py``: recordings that it holds are neither decoded nor encoded.
    audio_roots
        Folders, local or URLs, outside of which no recording is opened, whatever the manifest or a symbolic
        link names; default: anywhere. Embedded recordings are always taken.
    """

    manifest: str
    track: int | None = None
    split: str = "test"
    limit: int | None = None
    index: str | None = None
    audio_roots: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}: give at least 1, or null for all items")
        if self.track is not None and self.track < 0:
            raise ValueError(f"track is {self.track}: tracks are counted from 0; null is the file's default")


def read_source(options: InputOptions) -> Source:
    """Find a manifest; its rows are read as they are iterated over.

    Raises
    ------
    ManifestError
        It does not exist or can't be read.
    """
    uri = options.manifest
    suffix = Path(uri).suffix.lower()
    is_local = not storage.is_remote(uri)
    if suffix not in READERS and is_local and not Path(storage.absolute(uri)).is_dir():
        return _read_dataset(options, storage.absolute("."))
    try:
        files = files_of(uri, tuple(READERS) if suffix in READERS else (".parquet",))
        if files:
            # a folder that Spark or Ray Data wrote under a file's name takes the place of that file
            folder = storage.absolute(uri.rstrip("/"))
            base = storage.parent(folder) if suffix in READERS else folder
            return Source(_readable(uri, read_files(files)), base)
    except FileNotFoundError as error:
        if suffix in READERS:
            raise ManifestError(f"input.manifest {uri} does not exist") from error
    except storage.StorageError as error:
        raise ManifestError(f"input.manifest {uri} can't be read: {error}") from error
    if suffix in READERS:
        raise ManifestError(f"input.manifest {uri} is a folder without a file {', '.join(READERS)}")
    return _read_dataset(options, storage.absolute(uri))


def _readable(uri: str, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; raises ``ManifestError`` where reading fails."""
    try:
        yield from batches
    except FileNotFoundError as error:
        raise ManifestError(f"input.manifest {uri} does not exist") from error
    except (storage.StorageError, OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"input.manifest {uri} can't be read: {error}") from error


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
    starts = range(0, len(dataset), ROWS_AT_A_TIME)
    parts = (dataset.select(range(start, min(len(dataset), start + ROWS_AT_A_TIME))) for start in starts)
    return Source(((list(part), schema) for part in parts), base)


def _split_of(loaded: dict[str, Any], options: InputOptions) -> Any:
    if options.split not in loaded:
        raise ManifestError(
            f"input.manifest {options.manifest} has no split {options.split}: set input.split to one of "
            f"{', '.join(loaded)}"
        )
    return loaded[options.split]
