"""Files anywhere: local paths, ``s3://`` and every other fsspec URL, through one small door.

Endpoints and credentials come from the environment or the instance's role, as boto reads them
(``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, ...); nothing here takes or stores a secret.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any, cast

import fsspec

# s3fs retries what botocore does not; both back off between attempts
_STORAGE_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"retries": {"max_attempts": 10, "mode": "standard"}, "read_timeout": 60}},
}


class StorageError(ValueError):
    """A location that can't be read or written; the message says which and what to check."""


def is_remote(uri: str) -> bool:
    """Whether ``uri`` names a store rather than a local path."""
    return "://" in uri and not uri.startswith("file://")


def join(folder: str, *parts: str) -> str:
    """``folder/part/...`` for a local folder or a URL."""
    return "/".join([folder.rstrip("/"), *parts])


def parent(uri: str) -> str:
    """The folder that holds ``uri``, local or remote."""
    return uri.rsplit("/", 1)[0] if is_remote(uri) else str(Path(uri).parent)


def absolute(uri: str) -> str:
    """``uri`` with a local path made absolute: workers run in other folders."""
    return uri if "://" in uri else str(Path(uri).absolute())


def resolve(uri: str, base: str) -> str:
    """``uri`` if it is absolute, else its place below the folder ``base``."""
    if "://" in uri or Path(uri).is_absolute():
        return uri
    return join(base, uri) if is_remote(base) else str(Path(base) / uri)


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec filesystem of ``uri`` and the path within it.

    Directory listings are never cached: another process may be writing there.
    """
    protocol = uri.split("://", 1)[0] if "://" in uri else "file"
    options = _STORAGE_OPTIONS.get(protocol, {})
    try:
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri}: no way to open {protocol}:// addresses ({error})") from error
    return fs, path


def open_binary(uri: str, *, block_bytes: int) -> IO[bytes]:
    """Open ``uri`` for random access; remote files are fetched in ranges of about ``block_bytes``."""
    if not is_remote(uri):
        return cast(IO[bytes], open(uri.removeprefix("file://"), "rb"))
    fs, path = filesystem(uri)
    return cast(IO[bytes], fs.open(path, "rb", block_size=block_bytes, cache_type="readahead"))


def read_text(uri: str) -> str:
    """The whole of a small text file."""
    fs, path = filesystem(uri)
    return cast(str, fs.cat_file(path).decode())


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file in one step: readers see all of it or nothing.

    Object stores publish an object when its upload ends; a local file is renamed into place.
    """
    fs, path = filesystem(uri)
    if is_remote(uri):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    half_written = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    half_written.write_bytes(data)
    half_written.replace(target)
