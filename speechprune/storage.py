"""File access for local paths, ``s3://`` and every other fsspec URL.

Endpoints and credentials come from the environment or the instance's role, as boto reads them
(``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, ...); nothing here takes or stores a secret.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

import fsspec

from speechprune.addresses import absolute as absolute
from speechprune.addresses import is_chain, is_remote, local_path
from speechprune.addresses import is_within as is_within
from speechprune.addresses import join as join
from speechprune.addresses import output_folder as output_folder
from speechprune.addresses import parent as parent
from speechprune.addresses import resolve as resolve
from speechprune.addresses import shortened as shortened

# s3fs retries what botocore does not; both back off between attempts. A request without
# an answer after 10 s is sent again: a healthy store starts to answer within milliseconds
_S3 = {"retries": {"max_attempts": 10, "mode": "standard"}, "connect_timeout": 10, "read_timeout": 10}
_READ_WHOLE = {"max_concurrency": 1}  # else s3fs asks for the size first, to read large objects in parts
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STORAGE_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": _S3}}


class StorageError(ValueError):
    """A location that can't be read or written; the message says which and what to check."""


class NotRegularFile(OSError):
    """A pipe, a device or a socket, which may hold its reader for ever."""


def store_errors() -> tuple[type[Exception], ...]:
    """Return the exception types of a store; not all of botocore's, aiohttp's and the Hub's are OSErrors."""
    kinds: list[type[Exception]] = [OSError]
    if "botocore.exceptions" in sys.modules:
        from botocore.exceptions import BotoCoreError, ClientError

        kinds += [BotoCoreError, ClientError]
    if "aiohttp" in sys.modules:
        from aiohttp import ClientError as ConnectionLost

        kinds.append(ConnectionLost)
    kinds += [sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules]
    return tuple(kinds)


def is_store_error(error: BaseException) -> bool:
    """Whether an exception comes from reading or writing a store, and not from what was done with its bytes.

    Any kind that leaves fsspec counts: of a web server's refusals some are ``ValueError``s, some aiohttp's.
    """
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, (*store_errors(), StorageError)) or any(
        str(frame.f_globals.get("__name__")).startswith("fsspec.") for frame, _ in frames
    )


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Convert errors of a store's client (bucket, network, credentials) to a ``StorageError`` of one line.

    A missing file stays ``FileNotFoundError``, an existing one in the way ``FileExistsError``.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except store_errors() as error:
        if getattr(error, "errno", None) in _FULL:
            raise StorageError(
                f"{uri} can't be written, the disk is full or a quota is used up ({error}): make room, then "
                "give the same command again"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StorageError(
            f"{uri}: {reason}. Check that it exists, its endpoint and your credentials"
        ) from error


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec filesystem of ``uri`` and the path within it.

    Directory listings are never cached: another process may be writing there.
    """
    if not is_remote(uri):
        path = os.path.abspath(os.path.expanduser(local_path(uri)))
        return fsspec.filesystem("file", use_listings_cache=False), path
    protocol = uri.split("://", 1)[0]
    options: dict[str, Any] = {"use_listings_cache": False, **_STORAGE_OPTIONS.get(protocol, {})}
    try:
        if is_chain(uri):
            fs, path = fsspec.core.url_to_fs(uri, **options)
            return fs, path
        kind = fsspec.get_filesystem_class(protocol)  # url_to_fs would split the address at every ::
        return kind(**options, **kind._get_kwargs_from_urls(uri)), kind._strip_protocol(uri)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri}: no way to open {protocol}:// addresses ({error})") from error


def files_in(folder: str, suffix: str) -> list[str]:
    """List the files in ``folder`` that end in ``suffix``; none if there is no folder.

    Not a glob: a folder may have brackets or stars in its name.
    """
    return sorted(sizes_in(folder, suffix))


def sizes_in(folder: str, suffix: str) -> dict[str, int]:
    """Bytes of each of the files that ``files_in`` lists."""
    fs, path = filesystem(folder)
    infos: list[dict[str, Any]] = []
    with storage_errors(folder), contextlib.suppress(FileNotFoundError):
        infos = fs.ls(path, detail=True)
    sizes = {info["name"]: int(info.get("size") or 0) for info in infos if info["name"].endswith(suffix)}
    return {fs.unstrip_protocol(file): size for file, size in sizes.items()} if is_remote(folder) else sizes


def folders_in(folder: str) -> list[str]:
    """List the folders in ``folder``; none if there is no folder."""
    location = absolute(folder)
    fs, path = filesystem(location)
    folders: list[str] = []
    with storage_errors(folder), contextlib.suppress(FileNotFoundError):
        folders = [
            info["name"].rstrip("/") for info in fs.ls(path, detail=True) if info["type"] == "directory"
        ]
    return sorted(fs.unstrip_protocol(name) if is_remote(location) else name for name in folders)


def open_binary(uri: str, *, block_bytes: int) -> IO[bytes]:
    """Open ``uri`` for random access; remote files are fetched in ranges of about ``block_bytes``."""
    if not is_remote(uri):
        return open(local_path(uri), "rb", opener=_open_regular)
    fs, path = filesystem(uri)
    return cast(IO[bytes], fs.open(path, "rb", block_size=block_bytes, cache_type="readahead"))


def _open_regular(path: str, flags: int) -> int:
    """Open a file, without waiting for the other end of a pipe."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):  # of a folder Python says so itself
        os.close(descriptor)
        raise NotRegularFile(path)
    return descriptor


def read_bytes(uri: str) -> bytes:
    """Read a whole file; FileNotFoundError if there is none."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        return cast(bytes, fs.cat_file(path, **(_READ_WHOLE if uri.startswith("s3://") else {})))


def read_text(uri: str) -> str:
    """Read a whole text file; FileNotFoundError if there is none."""
    return read_bytes(uri).decode()


def num_bytes(uri: str) -> int:
    """Size of a file; FileNotFoundError where there is none."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        return int(fs.info(path)["size"] or 0)  # some web servers give none


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file in one step: readers see all of it or nothing.

    Object stores publish an object when its upload ends; a local file is renamed into place.
    """
    _write(uri, data, "overwrite")


def create_bytes(uri: str, data: bytes) -> None:
    """Create a file in one step; of several processes one succeeds.

    Raises
    ------
    FileExistsError
        The file exists.
    StorageError
        A store that can't do it.
    """
    if uri.startswith("hf://"):
        raise StorageError(
            f"{uri}: the Hugging Face Hub has no way to create a file if there is none, by which a job keeps "
            "a second one out: give a folder or an s3:// address, and push its files to the Hub afterwards"
        )
    _write(uri, data, "create")


def _write(uri: str, data: bytes, mode: Literal["overwrite", "create"]) -> None:
    fs, path = filesystem(uri)
    try:
        with storage_errors(uri):
            if is_remote(uri):
                fs.pipe_file(path, data, mode=mode)
                return
            with _draft_of(path) as draft:
                draft.write_bytes(data)
                if mode == "overwrite":
                    draft.replace(path)
                else:
                    _link(draft, Path(path))
    except FileNotFoundError as error:  # no such bucket, no such drive
        raise StorageError(f"{uri}: there is no such place to write to ({error})") from error


@contextlib.contextmanager
def writing(uri: str) -> Iterator[IO[bytes]]:
    """Write a file piece by piece, in one step for its readers: they see all of it or nothing."""
    fs, path = filesystem(uri)
    with storage_errors(uri):
        if is_remote(uri):
            with fs.open(path, "wb") as file:
                yield file
            return
        with _draft_of(path) as draft:
            with open(draft, "wb") as file:
                yield file
            draft.replace(path)


@contextlib.contextmanager
def _draft_of(path: str) -> Iterator[Path]:
    """Make the folder of a local file, and name a draft of it, which is gone at the end."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, target: Path) -> None:
    """Give a finished file its second name; where a drive has no hard links, write the target itself."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:
        with open(target, "xb") as file:
            try:
                file.write(draft.read_bytes())
            except OSError:
                target.unlink()
                raise


def read_json(uri: str) -> dict[str, Any]:
    """Read a JSON object; FileNotFoundError if there is no file, StorageError if it holds anything else."""
    data, reason = read_bytes(uri), "no JSON object"
    try:
        if isinstance(value := json.loads(data), dict):
            return value
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise StorageError(f"{uri} is damaged ({reason}): restore it from a copy, or give another folder")


def write_json(uri: str, value: Any) -> None:
    """Write a value as indented JSON, in one step."""
    write_bytes(uri, json.dumps(value, indent=2).encode())


def remove(uri: str) -> None:
    """Delete a file, if it exists."""
    fs, path = filesystem(uri)
    with storage_errors(uri), contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def move_into(uri: str, folder: str) -> None:
    """Move a file into a folder of the same store."""
    fs, path = filesystem(uri)
    target = join(filesystem(folder)[1], path.rsplit("/", 1)[-1])
    with storage_errors(uri):
        fs.makedirs(parent(target), exist_ok=True)
        fs.cp_file(path, target)  # mv would take brackets in a path for a pattern
        fs.rm_file(path)
