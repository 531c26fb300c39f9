"""Where a model comes from: hub id, local folder, ``s3://`` folder, or a shipped configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig

from speechprune import storage
from speechprune.cost import ModelShape
from speechprune.models.base import SpeechModel
from speechprune.models.hub import (
    WEIGHT_SUFFIXES,
    ModelError,
    as_model_error,
    fetch_folder,
    take_from_cache_only,
)
from speechprune.models.options import ModelOptions, resolve_device, resolve_dtype
from speechprune.models.registry import find_family
from speechprune.models.source import ModelSource

_SHIPPED_CONFIGURATIONS = Path(__file__).parent / "configurations"


def read_config(path: str, revision: str | None = None) -> dict[str, Any]:
    """Read a model's config.json as it is; no code of a model's repository is run.

    Parameters
    ----------
    path
        A shipped name such as ``qwen2-audio-7b``, a ``config.json``, a folder (local or ``s3://``) or a hub
        id.

    Returns
    -------
    dict
        Its content, and ``_commit_hash`` where it comes from the hub.

    Raises
    ------
    ModelError
        In one line: missing, gated, or no JSON.
    """
    local_only = False
    try:
        if shipped := _shipped(path):
            folder = str(shipped)
        elif storage.is_remote(path):
            folder = fetch_folder(path, small_files_only=True)
        else:
            _check_local(path)
            folder, local_only = path, take_from_cache_only(path, revision)
        values, _ = PreTrainedConfig.get_config_dict(folder, revision=revision, local_files_only=local_only)
    except (OSError, ValueError) as error:
        raise as_model_error(path, error) from error
    return dict(values)


def parse_config(
    path: str, revision: str | None = None, family: str | None = None
) -> tuple[type[SpeechModel], PreTrainedConfig]:
    """Find a model's family and parse its configuration, without its weights.

    Raises
    ------
    ModelError
        In one line, see ``read_config``; or of a family that is not supported.
    """
    values = read_config(path, revision)
    kind = find_family(path, values.get("model_type"), family)
    try:
        return kind, kind.parse_config(values)
    except (KeyError, TypeError, ValueError) as error:
        raise as_model_error(path, error) from error


def model_shape(path: str, revision: str | None = None, family: str | None = None) -> ModelShape:
    """Read the sizes that the cost account needs, from a configuration alone (see ``read_config``)."""
    kind, config = parse_config(path, revision, family)
    return kind.shape_of(config)


def check_model(options: ModelOptions) -> ModelShape:
    """Find out, without loading it, whether a model can be loaded.

    Raises
    ------
    ModelError
        In one line: missing, gated, of a family that is not supported, or a folder without weights.
    """
    shape = model_shape(options.path, options.revision, options.family)
    _refuse_shipped(options.path)
    if options.random_weights or not (storage.is_remote(options.path) or Path(options.path).is_dir()):
        return shape
    fs, root = storage.filesystem(options.path)
    if not any(file.endswith(WEIGHT_SUFFIXES) for file in fs.find(root)):
        raise ModelError(
            f"model.path {options.path} holds no weights (*.safetensors): give the folder of a saved model, "
            "or set model.random_weights=true for a load test"
        )
    return shape


def load_model(options: ModelOptions) -> SpeechModel:
    """Load weights and processor onto the device, ready to encode.

    Raises
    ------
    ModelError
        In one line: missing, gated, incomplete, or too large for the device.
    """
    kind, config = parse_config(options.path, options.revision, options.family)
    _refuse_shipped(options.path)
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    try:
        folder = fetch_folder(options.path) if storage.is_remote(options.path) else options.path
        return kind.load(
            ModelSource(options=options, config=config, folder=folder, device=device, dtype=dtype)
        )
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            f"model {options.path} does not fit on the GPU in {dtype}: set model.device_map=auto to shard it"
        ) from error
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise as_model_error(options.path, error) from error


def _shipped(path: str) -> Path | None:
    file = _SHIPPED_CONFIGURATIONS / f"{path.lower()}.json"
    return file if file.is_file() else None


def _refuse_shipped(path: str) -> None:
    if _shipped(path):
        raise ModelError(
            f"model.path {path} is a configuration alone, without tokenizer and weights: "
            "give a hub id, a local folder or an s3:// folder"
        )


def _check_local(path: str) -> None:
    looks_local = path.startswith((".", "/", "~")) or path.endswith(".json") or path.count("/") > 1
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ModelError(f"model.path {path} holds no config.json: give the folder of a saved model")
    if looks_local and not Path(path).exists():
        raise ModelError(
            f"model.path {path} does not exist: give a hub id, a local folder or an s3:// folder"
        )
