"""Listing of an archive: recordings with a version of their content, without opening a file."""

from __future__ import annotations

import contextlib
import glob
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from loguru import logger

from speechprune import storage
from speechprune.data.row_files import READERS, Source
from speechprune.data.sources import InputOptions, read_source

# endings of the names of recordings
_NAMES = (
    "3g2 3gp 3gpp aac ac3 aif aifc aiff amr ape asf au avi awb bwf caf flac flv g722 gsm m2ts m4a m4b m4v "
    "mka mkv mov mp2 mp3 mp4 mpeg mpg mpga mts oga ogg ogv opus qt ra rf64 snd sph spx ts tta voc vob w64 "
    "wav weba webm wma wmv wv"
)
AUDIO_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
# thumbnails, deleted files and snapshots of Synology, QNAP, Windows and macOS, beside hidden folders
_FOLDERS = (
    "@eadir @tmp #recycle #snapshot @recycle @recently-snapshot $recycle.bin recycler __macosx lost+found"
)
SYSTEM_FOLDERS = frozenset(_FOLDERS.split())
NUM_ENDINGS_SHOWN = 8
# S3's ETag is an MD5, or one of the parts' MD5s; two files may share another store's
HASH = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
NUM_READERS = 16  # addresses looked up at a time


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


def list_archive(path: str, audio_roots: Sequence[str] | None = None) -> list[Recording]:
    """List every recording of an archive, in order of address.

    Left out, and counted in one line: hidden files and folders, those of ``SYSTEM_FOLDERS``, symbolic links,
    and files whose ending is not in ``AUDIO_SUFFIXES``; in another line what lies outside of ``audio_roots``.

    Raises
    ------
    ArchiveError
        No such address, no access, or no audio file.
    """
    if (manifest := archive_manifest(path)) is not None:
        uris = _within(_addresses_in(manifest, path), audio_roots)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            return list(pool.map(_look_up, uris))
    found = {recording.uri: recording for recording in _of_folder(path)}
    return [found[uri] for uri in _within(sorted(found), audio_roots)]


def _within(uris: list[str], roots: Sequence[str] | None) -> list[str]:
    """Return those addresses that may be opened."""
    if roots is None:
        return uris
    allowed = [uri for uri in uris if storage.is_within(uri, roots)]
    if refused := sorted(set(uris) - set(allowed)):
        logger.warning(
            "refused: {:,} addresses outside of archive.audio_roots, such as {}", len(refused), refused[0]
        )
    return allowed


def _of_folder(path: str) -> list[Recording]:
    location = storage.absolute(path)
    fs, place = storage.filesystem(location)
    with _listing_errors(path):
        # what exists is no pattern, whatever signs are in its name
        is_pattern = any(sign in place for sign in "*?[") and not fs.exists(place)
        files = fs.glob(_keep_folders(fs, place), detail=True) if is_pattern else fs.find(place, detail=True)
    root = re.split(r"[*?\[]", place)[0].rpartition("/")[0] if is_pattern else place
    kinds = {name: _kind(name, info, root) for name, info in files.items() if info["type"] != "directory"}
    sounds = [name for name, kind in kinds.items() if kind in AUDIO_SUFFIXES]
    others = Counter(kind for kind in kinds.values() if kind not in AUDIO_SUFFIXES)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(NUM_ENDINGS_SHOWN))
    counted += ", ..." if len(others) > NUM_ENDINGS_SHOWN else ""
    if not sounds:
        raise ArchiveError(
            f"archive.path {path} holds no recordings" + (f" (left out: {counted})" if counted else "")
        )
    if others:
        logger.info("left out of {}: {}", path, counted)
    remote = storage.is_remote(location)
    return [_recording(fs.unstrip_protocol(name) if remote else name, files[name]) for name in sounds]


def _keep_folders(fs: fsspec.AbstractFileSystem, pattern: str) -> str:
    """Return a glob in which the folders that exist stand for themselves: ``plan [2024]``."""
    parts: list[str] = []
    for part in pattern.split("/"):
        is_folder = any(sign in part for sign in "*?[") and fs.isdir("/".join([*parts, part]))
        parts.append(glob.escape(part) if is_folder else part)
    return "/".join(parts)


def _kind(name: str, info: Mapping[str, Any], root: str) -> str:
    """The ending of a file's name, or what else keeps it from being a recording."""
    parts = [part for part in name.removeprefix(root).split("/") if part]
    if any(part.startswith(".") or part.casefold() in SYSTEM_FOLDERS for part in parts):
        return "hidden"
    if info["type"] != "file":
        return "symbolic links" if info.get("islink") else "no regular files"
    return Path(name).suffix.lower() or "without ending"


def archive_manifest(path: str) -> Source | None:
    """Read the manifest that an archive is; None where it is a folder or a glob.

    Raises
    ------
    ArchiveError
        The manifest can't be read.
    """
    if not path.rstrip("/").endswith(tuple(READERS)):
        return None
    with _named_archive_path():
        return read_source(InputOptions(manifest=path))


@contextlib.contextmanager
def _named_archive_path() -> Iterator[None]:
    """Errors of a manifest, as those of the setting that named it."""
    try:
        yield
    except ValueError as error:
        raise ArchiveError(str(error).replace("input.manifest", "archive.path")) from error


def _addresses_in(source: Source, path: str) -> list[str]:
    """Return the addresses in a manifest, each once."""
    with _named_archive_path():
        rows = list(source.rows)
    if not any("audio" in row for row in rows):
        raise ArchiveError(f"archive.path {path} has no column audio, or no row")
    return sorted({storage.resolve(str(row["audio"]), source.base) for row in rows if row.get("audio")})


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
