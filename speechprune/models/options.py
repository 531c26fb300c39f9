"""The section ``model`` of a config, and what ``auto`` means in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from speechprune.models.hub import ModelError

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it runs.

    Parameters
    ----------
    path
        Hub id, local folder or ``s3://`` folder with config, weights, tokenizer and processor.
    revision
        Branch, tag or commit of a hub model.
    family
        Name in ``MODELS``, or a class of your own as ``package.module:Class``; for models whose config.json
        has a ``model_type`` of its own. Default: the family of that ``model_type``.
    dtype
        ``auto``: bfloat16 on CUDA and on CPUs with AVX512-BF16 or AMX, float32 elsewhere.
    device
        ``auto``: CUDA where there is one.
    device_map
        ``auto`` shards the weights over all visible GPUs; leave out for one device.
    attn_implementation
        ``sdpa``, ``eager``, ``flash_attention_2``, ...: whatever transformers offers.
    compile
        Compile the layers with ``torch.compile``, which needs a C compiler: half a minute at the start, then
        a fifth to a quarter less time on a large GPU.
    random_weights
        The architecture with seeded random weights: for load tests; its answers mean nothing.
    encoder_batch_size
        Windows in an encoder batch, always of this one shape. Default: 4 on CUDA, where more are
        no faster, and 1 on CPUs, where a window alone fills the cores.
    prefill_batch_tokens
        Padded prompt tokens in a prefill batch. Default: 16,384 on CUDA, 1 prompt at a time on CPUs.
    """

    path: str
    revision: str | None = None
    family: str | None = None
    dtype: DType = "auto"
    device: Device = "auto"
    device_map: str | None = None
    attn_implementation: str = "sdpa"
    compile: bool = False
    random_weights: bool = False
    encoder_batch_size: int | None = None
    prefill_batch_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("encoder_batch_size", "prefill_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")


def resolve_device(device: Device) -> str:
    """Turn ``auto`` into a device that is there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("model.device is cuda, but no GPU is visible here: set it to auto or cpu")
    return device


def resolve_dtype(dtype: DType, device: str) -> torch.dtype:
    """Turn ``auto`` into bfloat16 where the hardware multiplies it faster than float32, else into float32."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    cpu = torch.cpu.get_capabilities()
    return torch.bfloat16 if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else torch.float32
