"""Where a model comes from: hub id, local folder, ``s3://`` folder, or a shipped configuration."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoConfig, AutoProcessor, PreTrainedConfig

from speechprune import storage
from speechprune.cost import ModelShape
from speechprune.models.qwen2_audio import Qwen2Audio

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]

# model_type in config.json -> adapter; a new model family is one file and one line here
ADAPTERS: dict[str, type[Qwen2Audio]] = {"qwen2_audio": Qwen2Audio}

_SHIPPED_CONFIGURATIONS = Path(__file__).parent / "configurations"
_WEIGHT_SUFFIXES = (".safetensors", ".bin")
_NUM_WEIGHT_SAMPLES = 16  # places at which a weight file is read for its fingerprint
_WEIGHT_SAMPLE_BYTES = 1 << 16
_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ConnectionError"}  # of the hub, by any of its HTTP clients
_REACH_TIMEOUT_SECONDS = 5
_REACH_ATTEMPTS = 2
_REACH_PAUSE_SECONDS = 1.0


class ModelError(ValueError):
    """A model that can't be loaded; the message is one line that says why and what to do."""


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
            config = AutoConfig.from_pretrained(_fetch(path, small_files_only=True))
        else:
            _check_local(path)
            config = AutoConfig.from_pretrained(
                path, revision=revision, local_files_only=_cache_only(path, revision)
            )
    except (OSError, ValueError) as error:
        raise _as_model_error(path, error) from error
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
    if not any(file.endswith(_WEIGHT_SUFFIXES) for file in fs.find(root)):
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
    config = load_config(options.path, options.revision)
    _refuse_shipped(options.path)
    adapter = ADAPTERS[config.model_type]
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    try:
        folder = _fetch(options.path) if storage.is_remote(options.path) else options.path
        source = {
            "pretrained_model_name_or_path": folder,
            "revision": options.revision,
            "local_files_only": _cache_only(folder, options.revision),
        }
        processor = AutoProcessor.from_pretrained(**source)
        if options.random_weights:
            model = _random_model(adapter, config, dtype, device, options.attn_implementation)
        else:
            model, report = adapter.model_class.from_pretrained(
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
        raise _as_model_error(options.path, error) from error
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
                return adapter.model_class(config)
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
    fs, root, files = _model_files(path)
    for file, info in files.items():
        name, size = os.path.relpath(file, root), info["size"]
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        digest.update(f"{name}:{size}\n".encode())
        if not name.endswith(_WEIGHT_SUFFIXES):
            digest.update(fs.cat_file(file))
            continue
        for i in range(_NUM_WEIGHT_SAMPLES):
            start = size * i // _NUM_WEIGHT_SAMPLES
            digest.update(fs.cat_file(file, start=start, end=min(size, start + _WEIGHT_SAMPLE_BYTES)))
    return digest.hexdigest()[:16]


def _model_files(uri: str) -> tuple[fsspec.AbstractFileSystem, str, dict[str, dict[str, Any]]]:
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


def _fetch(uri: str, *, small_files_only: bool = False) -> str:
    """Copy a remote model folder to this node's cache, once however many actors ask for it."""
    from filelock import FileLock

    fs, root, files = _model_files(uri)
    if small_files_only:
        files = {file: info for file, info in files.items() if not file.endswith(_WEIGHT_SUFFIXES)}
    versions = [(f, i["size"], str(i.get("ETag") or i.get("mtime"))) for f, i in files.items()]
    key = hashlib.sha256(repr(versions).encode()).hexdigest()[:24]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "speechprune" / "models"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / key
    with FileLock(home / f"{key}.lock"):
        if not (folder / ".complete").exists():
            for file in files:
                target = folder / os.path.relpath(file, root)
                target.parent.mkdir(parents=True, exist_ok=True)
                fs.get_file(file, str(target))
            (folder / ".complete").touch()
    return str(folder)


def _check_local(path: str) -> None:
    looks_local = path.startswith((".", "/", "~")) or path.endswith(".json") or path.count("/") > 1
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ModelError(f"model.path {path} holds no config.json: give the folder of a saved model")
    if looks_local and not Path(path).exists():
        raise ModelError(
            f"model.path {path} does not exist: give a hub id, a local folder or an s3:// folder"
        )


def _cache_only(path: str, revision: str | None) -> bool:
    """Whether a hub model is to be taken from the cache alone, because the hub can't be reached.

    Left to itself, the hub's client would find that out for every file anew, each time after half a minute
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


def _as_model_error(path: str, error: Exception) -> ModelError:
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
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"model {path} can't be loaded: {first_line}")
