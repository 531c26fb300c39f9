"""A LoRA adapter that lies beside a model's weights: added to them once, without the package peft."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from speechprune.models.hub import ModelError

if TYPE_CHECKING:
    from speechprune.models.source import ModelSource

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# a layer of the language model, under the names that peft and earlier transformers put before it
_NAME = re.compile(r"(?:(?:base_model|language_model|model)\.)*(layers\.\d+\..+)\.lora_([AB])\.weight")


def merge_adapter(source: ModelSource, model: Any, subfolder: str = "") -> None:
    """Add an adapter's matrices, where there is one, to those of the language model.

    W becomes W + s·BA with s = alpha / rank, as in peft.

    Raises
    ------
    ModelError
        It is not LoRA of the language model's layers alone.
    """
    settings = source.stored_file(ADAPTER_CONFIG, subfolder=subfolder, needed=False)
    if settings is None:
        return
    scale = _scale(source, json.loads(Path(settings).read_text()))
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, weight in load_file(str(source.stored_file(ADAPTER_WEIGHTS, subfolder=subfolder))).items():
        found = _NAME.fullmatch(name)
        if not found:
            raise _refusal(source, f"changes {name}")
        pairs.setdefault(found[1], {})[found[2]] = weight
    decoder = model.get_decoder()
    for name, pair in pairs.items():
        _add(source, decoder, name, pair, scale)


def _scale(source: ModelSource, settings: Any) -> float:
    known = settings if isinstance(settings, dict) else {}
    alpha, rank = known.get("lora_alpha"), known.get("r")
    if known.get("peft_type") != "LORA" or known.get("alpha_pattern") or known.get("rank_pattern"):
        raise _refusal(source, "is no LoRA with one scale for all layers")
    if not isinstance(alpha, int | float) or not isinstance(rank, int) or rank < 1:
        raise _refusal(source, f"has lora_alpha {alpha!r} and r {rank!r}")
    return alpha / (math.sqrt(rank) if known.get("use_rslora") else rank)


@torch.no_grad()
def _add(source: ModelSource, decoder: Any, name: str, pair: dict[str, torch.Tensor], scale: float) -> None:
    weight = dict(decoder.named_parameters()).get(f"{name}.weight")
    if weight is None or set(pair) != {"A", "B"}:
        raise _refusal(source, f"changes {name}")
    if weight.is_meta:
        raise ModelError(
            f"model {source.options.path} has an adapter and does not fit on the GPUs: give more of them"
        )
    low, high = (pair[part].to(weight.device, torch.float32) for part in "AB")
    if (*high.shape[:1], *low.shape[1:]) != tuple(weight.shape) or high.shape[1:] != low.shape[:1]:
        raise _refusal(source, f"does not fit {name}")
    weight.copy_(weight.float() + scale * (high @ low))


def _refusal(source: ModelSource, what: str) -> ModelError:
    return ModelError(
        f"the adapter of model {source.options.path} {what}, which can't be merged here: merge it with peft "
        "(merge_and_unload) and give the folder of the saved model"
    )
