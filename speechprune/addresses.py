"""Addresses of files as text: local paths, ``file:`` URIs, ``s3://`` and every other URL.

One in a log line or a row's error is shortened (``shortened``); one that a manifest names can be held to
prefixes (``is_within``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FILE_URI = re.compile(r"file:(//(localhost)?)?(?=/)|file://", re.IGNORECASE)  # Spark writes file:/a
_BUCKET_SCHEMES = ("s3", "s3a", "gs", "gcs")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# user:password@ in front of a host; a password may hold slashes, but what begins with a port is none
_USER = re.compile(r"(?<=://)(?:[^\s/@]*@|[^\s/@:]+:(?!\d+/|:)[^\s@]*@)")
# what follows a ? in an address, but for the punctuation of the sentence that it stands in
_QUERY = re.compile(r"\?(?=[^\s?]*=|[\w%~+/-]{16})\S*?(?=[.,:;)\]'\">]*(?:\s|$))")


def is_remote(uri: str) -> bool:
    """Return whether ``uri`` is an address of a store rather than a local path."""
    return "://" in uri and _FILE_URI.match(uri) is None


def local_path(uri: str) -> str:
    """Return the path of a ``file:`` URI, which writes a space as ``%20``; a path stays as it is.

    fsspec writes such URIs without escapes: a file with the escape in its name is found where it is the only
    one.
    """
    scheme = _FILE_URI.match(uri)
    if scheme is None:
        return uri
    written = uri[scheme.end() :]
    path = unquote(written)
    return written if path != written and not os.path.exists(path) and os.path.exists(written) else path


def join(folder: str, *parts: str) -> str:
    """Join a local folder or a URL and parts to ``folder/part/...``."""
    return "/".join([folder.rstrip("/"), *parts])


def parent(uri: str) -> str:
    """Return the folder of ``uri``, local or remote."""
    return uri.rsplit("/", 1)[0] if is_remote(uri) else str(Path(uri).parent)


def absolute(uri: str) -> str:
    """Make a local path absolute, since workers run in other folders; a URL stays as it is."""
    return uri if is_remote(uri) else str(Path(local_path(uri)).absolute())


def output_folder(path: str) -> str:
    """Return the absolute address of a folder to write to, one for each place.

    ``s3://bucket//run``, which ``s3://$BUCKET/$PREFIX/run`` gives where PREFIX is empty, is
    ``s3://bucket/run``: a store holds both, but not every client reads and lists both alike.

    Raises
    ------
    ValueError
        The bucket has no name.
    """
    if not is_remote(path) or is_chain(path):
        return absolute(path)
    scheme, rest = path.split("://", 1)
    bucket, slash, key = rest.partition("/")
    if not bucket and scheme in _BUCKET_SCHEMES:
        raise ValueError(f"{path} names no bucket: write {scheme}://BUCKET/FOLDER")
    return f"{scheme}://{bucket}{slash}{re.sub('/{2,}', '/', key).strip('/')}"


def resolve(uri: str, base: str) -> str:
    """Return ``uri`` if it is absolute, else its address below the folder ``base``."""
    if "://" in uri or _FILE_URI.match(uri) or os.path.isabs(uri):
        return uri
    return join(base, uri) if is_remote(base) else str(Path(base) / uri)


def shortened(text: str) -> str:
    """Return a sentence, or an address alone, without the secrets that its addresses may hold.

    User and password in front of a host become ``***``, and what follows a ``?`` (a signature, a token)
    ``...``. The number of a version stays.
    """
    return _QUERY.sub(
        lambda query: query[0] if re.fullmatch(r"\?versionId=[^&=]*", query[0]) else "?...",
        _USER.sub("***@", text),
    )


def is_within(uri: str, roots: Sequence[str]) -> bool:
    """Whether an absolute address is one of the ``roots`` or below one, however it is spelt.

    Local paths are compared without ``..`` and symbolic links; URLs without regard to the case of scheme and
    host, and one that has ``..`` or several addresses in it (``zip://a::https://b``) is within nothing.
    """
    place = _place(uri)
    found = [_place(absolute(root)) for root in roots]
    return place is not None and any(root is not None and place[: len(root)] == root for root in found)


def _place(uri: str) -> tuple[str, ...] | None:
    """An address as parts, the first ones the same for all below a folder; None where that can't be known."""
    if not is_remote(uri):
        path = local_path(uri)
        return ("file", *Path(os.path.realpath(path)).parts) if os.path.isabs(path) else None
    address = urlsplit(uri)
    path = unquote(address.path) if address.scheme in _DEFAULT_PORTS else address.path
    parts = [part for part in path.split("/") if part]
    if is_chain(uri) or "\\" in uri or {".", ".."} & set(parts):
        return None
    try:
        port = address.port or _DEFAULT_PORTS.get(address.scheme)
    except ValueError:
        return None
    host = (address.hostname or "") + (f":{port}" if port else "")
    return (address.scheme.lower(), host, *parts)


def is_chain(uri: str) -> bool:
    """Whether an address names several, as fsspec reads it: ``simplecache::s3://bucket/a``.

    Not every ``::`` does: object names and paths may have it too.
    """
    first, *others = uri.split("::")
    return bool(others) and (re.fullmatch(r"[a-z][a-z0-9]*", first) is not None or "://" in "::".join(others))
