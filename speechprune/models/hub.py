"""Model files that are not a local folder: copied from a store, or looked for on the hub."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

import fsspec
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

from speechprune import storage

WEIGHT_SUFFIXES = (".safetensors", ".bin")

_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ConnectionError"}  # of the hub, by any of its HTTP clients
_REACH_TIMEOUT_SECONDS = 5
_REACH_ATTEMPTS = 2
_REACH_PAUSE_SECONDS = 1.0


class ModelError(ValueError):
    """A model that can't be loaded; the message is one line that says why and what to do."""


def model_files(uri: str) -> tuple[fsspec.AbstractFileSystem, str, dict[str, dict[str, Any]]]:
    """The file system of a model folder, its path there, and what the store knows of each file."""
    fs, root = storage.filesystem(uri)
    try:
        files = {file: fs.info(file) for file in sorted(fs.find(root))}
    except Exception as error:  # an OSError, or whatever the store's client raises without credentials
        raise ModelError(
            f"model.path {uri} can't be listed ({error}): check bucket and credentials"
        ) from error
    if not any(file.endswith("/config.json") for file in files):
        raise ModelError(f"model.path {uri} holds no config.json: give the folder of a saved model")
    return fs, root, files


def fetch_folder(uri: str, *, small_files_only: bool = False) -> str:
    """Copy a remote model folder to this node's cache, once however many actors ask for it."""
    from filelock import FileLock

    fs, root, files = model_files(uri)
    if strays := [file for file in files if ".." in file.split("/")]:  # a key of a store may be any text
        raise ModelError(f"model.path {uri} holds {strays[0]}, whose name leads out of it: remove that file")
    if small_files_only:
        files = {file: info for file, info in files.items() if not file.endswith(WEIGHT_SUFFIXES)}
    versions = [(f, i["size"], str(i.get("ETag") or i.get("mtime"))) for f, i in files.items()]
    key = hashlib.sha256(repr(versions).encode()).hexdigest()[:24]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "speechprune" / "models"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / key
    with FileLock(home / f"{key}.lock"):
        if not (folder / ".complete").exists():
            try:
                with storage.storage_errors(str(folder)):
                    for file in files:
                        target = folder / os.path.relpath(file, root)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        fs.get_file(file, str(target))
                    (folder / ".complete").touch()
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)  # a half copy is of no use, and may fill the disk
                raise
    return str(folder)


def take_from_cache_only(path: str, revision: str | None) -> bool:
    """Whether a hub model is to be taken from the cache alone, because the hub can't be reached.

    Left to itself, the hub's client would find that out again for every file, each time after half a minute
    of printed retries.

    Raises
    ------
    ModelError
        The hub can't be reached, and the model is not in the cache.
    """
    if Path(path).exists() or _hub_answers(path, revision):
        return False
    if isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str):
        return True
    raise _unreachable(path)


def cached_commit(path: str, revision: str | None, file: str) -> str | None:
    """Find the commit from which a file of a hub model is in the cache: None where it isn't."""
    cached = try_to_load_from_cache(path, file, revision=revision)
    return Path(cached.removesuffix(file)).name if isinstance(cached, str) else None


def _hub_answers(path: str, revision: str | None) -> bool:
    """Whether a connection comes about; what else may be wrong is for the download to meet."""
    for attempt in range(_REACH_ATTEMPTS):
        if attempt:
            time.sleep(_REACH_PAUSE_SECONDS)
        try:
            url = hf_hub_url(path, "config.json", revision=revision)
            get_hf_file_metadata(url, timeout=_REACH_TIMEOUT_SECONDS)
            return True
        except Exception as error:
            if type(error).__name__ not in _UNREACHABLE:
                return True
    return False


def _unreachable(path: str) -> ModelError:
    return ModelError(
        f"model {path} is neither a folder here nor in the hub cache, and the hub can't be reached: "
        "download it first and give its folder"
    )


def as_model_error(path: str, error: Exception) -> ModelError:
    """One line out of the several screens that a failed hub download prints."""
    if isinstance(error, ModelError):
        return error
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    if "GatedRepoError" in causes:
        return ModelError(f"model {path} is gated: accept its licence on its hub page and set HF_TOKEN")
    if "RepositoryNotFoundError" in causes or "RevisionNotFoundError" in causes:
        return ModelError(
            f"model {path} is not on the hub (or private: set HF_TOKEN): check the name and revision"
        )
    if (_UNREACHABLE | {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}) & set(causes):
        return _unreachable(path)
    if "custom code" in str(error):
        return ModelError(
            f"model {path} needs code of its own folder, which is never run: give one that needs none"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    if not isinstance(error, OSError | ValueError):  # "division by zero" alone says little
        reason = f"{type(error).__name__}: {reason}"
    return ModelError(f"model {path} can't be loaded: {reason}")


def is_from(error: BaseException, packages: Collection[str]) -> bool:
    """Whether an exception was raised by code of these packages."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).split(".")[0] in packages
