"""Folder of an unfinished benchmark, whose finished recordings are its only state.

``audio/ID.flac`` holds a recording, ``parts/*.jsonl`` one line for each that is made or failed,
``scripts/ID.json`` what a chat model was paid for. The files that users read are put together at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from loguru import logger
from pydantic import TypeAdapter, ValidationError

from speechprune import storage
from speechprune.benchmarks.builder.export import AudioFormat
from speechprune.benchmarks.builder.script import Script
from speechprune.data.parquet_files import NUM_READERS

_SCRIPT = TypeAdapter(Script)


@dataclass(frozen=True)
class Recordings:
    """Contents of the parts: by recording's id, its line if it is finished, else the reason of failure."""

    made: dict[str, bytes]
    failed: dict[str, str]


class BenchmarkDirectory:
    """Reads and writes one benchmark's folder; each file is published in one step.

    Parameters
    ----------
    path
        Local folder or any fsspec URL; made when first written to.
    """

    def __init__(self, path: str) -> None:
        self.path = storage.output_folder(path)

    def read_recordings(self) -> Recordings:
        """All lines of all parts; one that is made counts wherever the same recording also failed."""
        files = storage.files_in(storage.join(self.path, "parts"), ".jsonl")
        recordings = Recordings({}, {})
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for file, data in zip(files, pool.map(storage.read_bytes, files), strict=True):
                try:
                    _sort_lines(data, recordings)
                except (ValueError, KeyError):
                    logger.warning("{} is damaged: the recordings that only it names are made again", file)
        for recording_id in recordings.made:
            recordings.failed.pop(recording_id, None)
        return recordings

    def read_part(self, name: str) -> dict[str, bytes]:
        """Lines of the recordings that an earlier attempt at the same block made."""
        recordings = Recordings({}, {})
        try:
            _sort_lines(storage.read_bytes(self._part(name)), recordings)
        except (FileNotFoundError, ValueError, KeyError):
            return {}
        return recordings.made

    def write_part(self, name: str, lines: Iterable[bytes]) -> None:
        """Publish all lines of a block so far."""
        storage.write_bytes(self._part(name), b"".join(line + b"\n" for line in lines))

    def _part(self, name: str) -> str:
        return storage.join(self.path, "parts", f"{name}.jsonl")

    def has_scripts(self) -> bool:
        """Whether any script was written."""
        return bool(storage.files_in(storage.join(self.path, "scripts"), ".json"))

    def read_script(self, recording_id: str) -> Script | None:
        """A script that was written in an earlier attempt."""
        uri = self._script(recording_id)
        try:
            return _SCRIPT.validate_json(storage.read_bytes(uri))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ValueError(f"{uri} is damaged: delete it, and the script is written anew") from error

    def write_script(self, recording_id: str, script: Script) -> None:
        """Store a script."""
        storage.write_bytes(self._script(recording_id), _SCRIPT.dump_json(script, indent=2))

    def _script(self, recording_id: str) -> str:
        return storage.join(self.path, "scripts", f"{recording_id}.json")

    @staticmethod
    def audio_name(recording_id: str, audio_format: AudioFormat) -> str:
        """Address of a recording, relative to the benchmark."""
        return f"audio/{recording_id}.{audio_format}"

    def write_file(self, name: str, data: bytes) -> None:
        """Publish any other file."""
        storage.write_bytes(storage.join(self.path, name), data)


def _sort_lines(data: bytes, recordings: Recordings) -> None:
    for line in data.splitlines():
        entry: dict[str, Any] = json.loads(line)
        if entry["error"] is None:
            recordings.made[entry["recording_id"]] = line
        else:
            recordings.failed[entry["recording_id"]] = f"{entry['error_type']}: {entry['error']}"
