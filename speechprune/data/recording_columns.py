"""Columns of an archive's manifest, kept beside the windows of an index: filters of searches read them.

``recordings.jsonl`` is a manifest itself, with absolute addresses, written again by each incremental run.
"""

from __future__ import annotations

import json

from speechprune import storage
from speechprune.data import Row
from speechprune.data.columns import GOLD_SPAN_COLUMNS, ITEM_COLUMNS
from speechprune.data.row_files import Source
from speechprune.data.sources import InputOptions, read_source

FILE = "recordings.jsonl"
_OF_QUESTIONS = {*(field.name for field in ITEM_COLUMNS), *GOLD_SPAN_COLUMNS} - {"audio"}


def write_columns(folder: str, source: Source | None) -> None:
    """Keep the columns that describe recordings; without a manifest there are none.

    - ``folder``: a model's folder of an index.
    - ``source``: the archive's manifest. Its columns about questions are left out.
    """
    uri = storage.join(folder, FILE)
    lines = [json.dumps(row, default=str) for row in _of_recordings(source)] if source else []
    if not lines:
        storage.remove(uri)
        return
    storage.write_bytes(uri, "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode())


def read_columns(folder: str, manifest: str | None) -> list[Row]:
    """Read the columns of recordings from a manifest, or those that the index keeps; none where it has none.

    Raises
    ------
    ManifestError
        The manifest can't be read.
    """
    uri = storage.join(folder, FILE)
    if manifest is None and not storage.files_in(folder, FILE):
        return []
    return _of_recordings(read_source(InputOptions(manifest=manifest or uri)))


def _of_recordings(source: Source) -> list[Row]:
    """Rows that name a recording, by its absolute address; bytes are left out."""
    return [
        {
            name: storage.resolve(str(value), source.base) if name == "audio" else value
            for name, value in row.items()
            if name not in _OF_QUESTIONS and not isinstance(value, bytes)
        }
        for row in source.rows
        if isinstance(row.get("audio"), str)
    ]
