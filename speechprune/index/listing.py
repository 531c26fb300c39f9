"""Listing of an archive: recordings with a version of their content, without opening a file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from loguru import logger

from speechprune import storage
from speechprune.data.sources import InputOptions, read_source

# suffixes of audio files; other files of a folder are ignored
_NAMES = (
    "3gp aac ac3 aif aifc aiff amr ape au avi caf flac gsm m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg oga "
    "ogg ogv opus ra snd sph spx tta voc w64 wav webm wma wmv wv"
)
AUDIO_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
# S3's ETag is an MD5, or one of the parts' MD5s; two files may share another store's
HASH = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
NUM_READERS = 16  # addresses looked up at a time
MANIFEST_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


class ArchiveError(ValueError):
    """An archive that can't be listed; one line says why."""


@dataclass(frozen=True)
class Recording:
    """A recording in the archive."""

    uri: str  # absolute address
    # string that changes with the content: the store's ETag and size, or size and time of change
    version: str
    num_bytes: int  # size of its file
    is_hashed: bool  # whether the version is a hash of the content, so that equal versions are copies


def list_archive(path: str) -> list[Recording]:
    """List every recording of an archive, in order of address.

    Raises
    ------
    ArchiveError
        No such address, no access, or no audio file.
    """
    if path.endswith(MANIFEST_SUFFIXES):
        return _of_manifest(path)
    location = storage.absolute(path)
    fs, pattern = storage.filesystem(location)
    with _listing_errors(path):
        if any(sign in pattern for sign in "*?["):
            files = fs.glob(pattern, detail=True)
        else:
            files = fs.find(pattern, detail=True)
    infos = {name: info for name, info in files.items() if info["type"] == "file"}
    sounds = {name: info for name, info in infos.items() if Path(name).suffix.lower() in AUDIO_SUFFIXES}
    if not sounds:
        raise ArchiveError(f"archive.path {path} holds no recordings ({len(infos):,} other files)")
    if len(sounds) < len(infos):
        logger.info("{:,} files of {} are no recordings by their names", len(infos) - len(sounds), path)
    remote = storage.is_remote(location)
    return sorted(
        (_recording(fs.unstrip_protocol(name) if remote else name, info) for name, info in sounds.items()),
        key=lambda recording: recording.uri,
    )


def _of_manifest(path: str) -> list[Recording]:
    try:
        source = read_source(InputOptions(manifest=path))
    except ValueError as error:
        raise ArchiveError(str(error).replace("input.manifest", "archive.path")) from error
    if not source.rows or "audio" not in source.rows[0]:
        raise ArchiveError(f"archive.path {path} has no column audio, or no row")
    uris = {storage.resolve(str(row["audio"]), source.base) for row in source.rows if row["audio"]}
    with ThreadPoolExecutor(NUM_READERS) as pool:
        return list(pool.map(_look_up, sorted(uris)))


def _look_up(uri: str) -> Recording:
    fs, name = storage.filesystem(uri)
    try:
        with storage.storage_errors(uri):
            return _recording(uri, fs.info(name))
    except FileNotFoundError:  # decoding reports it, in every run until it is there
        return Recording(uri, "missing", 0, is_hashed=False)
    except storage.StorageError as error:
        raise ArchiveError(str(error)) from error


def _recording(uri: str, info: Mapping[str, Any]) -> Recording:
    size = int(info.get("size") or 0)
    tag = info.get("md5Hash") or info.get("content_md5") or info.get("ETag") or info.get("etag")
    if tag:
        tag = str(tag).strip('"')
        is_hashed = "md5Hash" in info or "content_md5" in info or HASH.fullmatch(tag) is not None
        return Recording(uri, f"{tag}:{size}", size, is_hashed)
    changed = (
        info.get("mtime") or info.get("LastModified") or info.get("last_modified") or info.get("updated")
    )
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return Recording(uri, f"{size}:{changed}", size, is_hashed=False)


@contextlib.contextmanager
def _listing_errors(path: str) -> Iterator[None]:
    """Convert errors of a store's client to an ``ArchiveError`` of one line."""
    try:
        yield
    except storage.store_errors() as error:
        raise ArchiveError(
            f"archive.path {path} can't be listed ({' '.join(str(error).split())}): "
            "check that it exists, and your credentials"
        ) from error
