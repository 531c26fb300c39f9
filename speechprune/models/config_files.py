"""A model's config.json, from wherever the model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from speechprune import storage
from speechprune.models.hub import (
    ModelError,
    as_model_error,
    cached_commit,
    fetch_folder,
    take_from_cache_only,
)

_SHIPPED_CONFIGURATIONS = Path(__file__).parent / "configurations"


def read_config(path: str, revision: str | None = None, subfolder: str = "") -> dict[str, Any]:
    """Read a model's config.json as it is; no code of a model's repository is run.

    Parameters
    ----------
    path
        A shipped name such as ``qwen2-audio-7b``, a ``config.json``, a folder (local or ``s3://``) or a hub
        id.
    subfolder
        Where in it config.json is.

    Returns
    -------
    dict
        Its content, and ``_commit_hash`` where it comes from the hub.

    Raises
    ------
    ModelError
        In one line: missing, gated, or no JSON.
    """
    local_only, commit = False, None
    try:
        if is_shipped(path):
            folder = str(_shipped_file(path))
        elif storage.is_remote(path):
            folder = fetch_folder(path, small_files_only=True)
        else:
            _check_local(path)
            folder, local_only = path, take_from_cache_only(path, revision)
        values, _ = PreTrainedConfig.get_config_dict(
            folder, revision=revision, subfolder=subfolder, local_files_only=local_only
        )
        if not Path(folder).exists():
            commit = cached_commit(path, revision, f"{subfolder}/config.json" if subfolder else "config.json")
    except (OSError, ValueError) as error:
        raise as_model_error(path, error) from error
    return dict(values) | ({"_commit_hash": commit} if commit else {})


def is_shipped(path: str) -> bool:
    """Whether a path is the name of a shipped configuration."""
    return _shipped_file(path).is_file()


def shipped_models() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(file.stem for file in _SHIPPED_CONFIGURATIONS.glob("*.json"))


def _shipped_file(path: str) -> Path:
    return _SHIPPED_CONFIGURATIONS / f"{path.lower()}.json"


def _check_local(path: str) -> None:
    looks_local = path.startswith((".", "/", "~")) or path.endswith(".json") or path.count("/") > 1
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ModelError(f"model.path {path} holds no config.json: give the folder of a saved model")
    if looks_local and not Path(path).exists():
        raise ModelError(
            f"model.path {path} does not exist: give a hub id, a local folder or an s3:// folder"
        )
