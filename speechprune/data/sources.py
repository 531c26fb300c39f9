"""Where a manifest's rows come from: Parquet, JSON, CSV files anywhere, or a Hugging Face dataset."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprune import storage
from speechprune.data.row_files import READERS, ManifestError, Source, files_of, read_files


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What is asked of what.

    Parameters
    ----------
    manifest
        Parquet, JSON (Lines or an array), CSV or TSV file (local or any fsspec URL), a folder of Parquet
        files, or a Hugging Face dataset by hub id or folder.
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
    split: str = "test"
    limit: int | None = None
    index: str | None = None
    audio_roots: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}: give at least 1, or null for all items")


def read_source(options: InputOptions) -> Source:
    """Read every row of a manifest.

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
            return read_files(files, storage.parent(folder) if suffix in READERS else folder)
    except FileNotFoundError as error:
        if suffix in READERS:
            raise ManifestError(f"input.manifest {uri} does not exist") from error
    except (storage.StorageError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"input.manifest {uri} can't be read: {error}") from error
    if suffix in READERS:
        raise ManifestError(f"input.manifest {uri} is a folder without a file {', '.join(READERS)}")
    return _read_dataset(options, storage.absolute(uri))


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
