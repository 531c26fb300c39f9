"""Where a model comes from: hub id, local folder, ``s3://`` folder, or a shipped configuration."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig

from speechprune import storage
from speechprune.cost import ModelShape
from speechprune.models.hub import (
    WEIGHT_SUFFIXES,
    ModelError,
    as_model_error,
    fetch_folder,
    model_files,
    take_from_cache_only,
)
from speechprune.models.qwen2_audio import Qwen2Audio

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]

# model_type in config.json -> adapter; a new model family is one file and one line here
ADAPTERS: dict[str, type[Qwen2Audio]] = {"qwen2_audio": Qwen2Audio}

_SHIPPED_CONFIGURATIONS = Path(__file__).parent / "configurations"
_NUM_WEIGHT_SAMPLES = 16  # places at which a weight file is read for its fingerprint
_WEIGHT_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it runs.

    Parameters
    ----------
    path
        Hub id, local folder or ``s3://`` folder with config, weights, tokenizer and processor.
    revision
        Branch, tag or commit of a hub model.
    dtype
        ``auto``: bfloat16 on CUDA and on CPUs with AVX512-BF16 or AMX, float32 elsewhere.
    device
        ``auto``: CUDA where there is one.
    device_map
        ``auto`` shards the weights over all visible GPUs; leave out for one device.
    attn_implementation
        ``sdpa``, ``eager``, ``flash_attention_2``, ...: whatever transformers offers.
    random_weights
        The architecture with seeded random weights: for load tests; its answers mean nothing.
    encoder_batch_size
        Windows in an encoder batch, always of this one shape. Default: 8 on CUDA, 1 on CPUs, where
        a window alone fills the cores.
    prefill_batch_tokens
        Padded prompt tokens in a prefill batch. Default: 16,384 on CUDA, 1 prompt at a time on CPUs.
    """

    path: str
    revision: str | None = None
    dtype: DType = "auto"
    device: Device = "auto"
    device_map: str | None = None
    attn_implementation: str = "sdpa"
    random_weights: bool = False
    encoder_batch_size: int | None = None
    prefill_batch_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("encoder_batch_size", "prefill_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")


def load_config(path: str, revision: str | None = None) -> PreTrainedConfig:
    """The configuration of a model, without its weights.

    Parameters
    ----------
    path
        A shipped name such as ``qwen2-audio-7b``, a ``config.json``, a folder (local or ``s3://``)
        or a hub id.

    Raises
    ------
    ModelError
        In one line: missing, gated, or of a family without an adapter.
    """
    try:
        if shipped := _shipped(path):
            config = AutoConfig.from_pretrained(shipped)
        elif storage.is_remote(path):
            config = AutoConfig.from_pretrained(fetch_folder(path, small_files_only=True))
        else:
            _check_local(path)
            config = AutoConfig.from_pretrained(
                path, revision=revision, local_files_only=take_from_cache_only(path, revision)
            )
    except (OSError, ValueError) as error:
        raise as_model_error(path, error) from error
    if config.model_type not in ADAPTERS:
        raise ModelError(
            f"model {path} is a {config.model_type}; supported families: {', '.join(sorted(ADAPTERS))}"
        )
    return config


def _shipped(path: str) -> Path | None:
    file = _SHIPPED_CONFIGURATIONS / f"{path.lower()}.json"
    return file if file.is_file() else None


def _refuse_shipped(path: str) -> None:
    if _shipped(path):
        raise ModelError(
            f"model.path {path} is a configuration alone, without tokenizer and weights: "
            "give a hub id, a local folder or an s3:// folder"
        )


def model_shape(path: str, revision: str | None = None) -> ModelShape:
    """The sizes that the cost account needs, from a configuration alone (see ``load_config``)."""
    config = load_config(path, revision)
    return ADAPTERS[config.model_type].shape_of(config)


def check_model(options: ModelOptions) -> ModelShape:
    """Find out, without loading it, whether a model can be loaded.

    Raises
    ------
    ModelError
        In one line: missing, gated, of a family without an adapter, or a folder without weights.
    """
    shape = model_shape(options.path, options.revision)
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


def load_model(options: ModelOptions) -> Qwen2Audio:
    """Load weights and processor onto the device, ready to encode.

    Raises
    ------
    ModelError
        In one line: missing, gated, incomplete, or too large for the device.
    """
    from transformers import AutoProcessor  # takes a second, which a driver, which never loads a model, saves

    config = load_config(options.path, options.revision)
    _refuse_shipped(options.path)
    adapter = ADAPTERS[config.model_type]
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    try:
        folder = fetch_folder(options.path) if storage.is_remote(options.path) else options.path
        source = {
            "pretrained_model_name_or_path": folder,
            "revision": options.revision,
            "local_files_only": take_from_cache_only(folder, options.revision),
        }
        processor = AutoProcessor.from_pretrained(**source)
        if options.random_weights:
            model = _random_model(adapter, config, dtype, device, options.attn_implementation)
        else:
            model, report = adapter.model_class().from_pretrained(
                **source,
                dtype=dtype,
                attn_implementation=options.attn_implementation,
                device_map=options.device_map or {"": device},
                ignore_mismatched_sizes=True,  # reported with the missing ones
                output_loading_info=True,
            )
            _check_complete(options.path, report)
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            f"model {options.path} does not fit on the GPU in {dtype}: set model.device_map=auto to shard it"
        ) from error
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise as_model_error(options.path, error) from error
    return adapter(
        model.eval().requires_grad_(False),
        processor,
        name=options.path,
        encoder_batch_size=options.encoder_batch_size or (8 if device == "cuda" else 1),
        prefill_batch_tokens=options.prefill_batch_tokens or (16_384 if device == "cuda" else 1),
    )


def _check_complete(path: str, report: dict[str, Any]) -> None:
    """Refuse a checkpoint whose gaps transformers would fill with random weights."""
    faulty = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if faulty:
        raise ModelError(
            f"model {path} is incomplete: {len(faulty)} weights, such as {faulty[0]}, are missing or not of "
            "the shape that its config.json says"
        )


def _random_model(
    adapter: type[Qwen2Audio], config: PreTrainedConfig, dtype: torch.dtype, device: str, attention: str
) -> Any:
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=["cuda"] if device == "cuda" else []):
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # so that 8 B parameters never exist in float32
        try:
            with torch.device(device):
                return adapter.model_class()(config)
        finally:
            torch.set_default_dtype(before)


def resolve_device(device: Device) -> str:
    """``auto`` to a device that is there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("model.device is cuda, but no GPU is visible here: set it to auto or cpu")
    return device


def resolve_dtype(dtype: DType, device: str) -> torch.dtype:
    """``auto`` to bfloat16 where the hardware multiplies it faster than float32, else to float32."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    cpu = torch.cpu.get_capabilities()
    return torch.bfloat16 if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else torch.float32


def fingerprint(options: ModelOptions) -> str:
    """A short hash of all that a model folder holds, the same for a copy of it elsewhere.

    Small files are hashed whole, weights by their size and samples of their content. A hub model is
    named by its commit.
    """
    digest = hashlib.sha256()
    if options.random_weights:
        digest.update(b"random weights")
    path = options.path
    if not storage.is_remote(path) and not Path(path).is_dir():
        commit = getattr(load_config(path, options.revision), "_commit_hash", None)
        digest.update(f"{path}@{commit or options.revision}".encode())
        return digest.hexdigest()[:16]
    fs, root, files = model_files(path)
    for file, info in files.items():
        name, size = os.path.relpath(file, root), info["size"]
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        digest.update(f"{name}:{size}\n".encode())
        if not name.endswith(WEIGHT_SUFFIXES):
            digest.update(fs.cat_file(file))
            continue
        for i in range(_NUM_WEIGHT_SAMPLES):
            start = size * i // _NUM_WEIGHT_SAMPLES
            digest.update(fs.cat_file(file, start=start, end=min(size, start + _WEIGHT_SAMPLE_BYTES)))
    return digest.hexdigest()[:16]


def _check_local(path: str) -> None:
    looks_local = path.startswith((".", "/", "~")) or path.endswith(".json") or path.count("/") > 1
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ModelError(f"model.path {path} holds no config.json: give the folder of a saved model")
    if looks_local and not Path(path).exists():
        raise ModelError(
            f"model.path {path} does not exist: give a hub id, a local folder or an s3:// folder"
        )
