"""What a family loads from: one folder or hub repository, with the device and dtype to load onto."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig
from transformers.utils import cached_file

from speechprune.models.hub import ModelError, take_from_cache_only
from speechprune.models.lora import merge_adapter
from speechprune.models.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """One folder or hub repository of a model, and where and as what its weights are loaded."""

    options: ModelOptions
    config: PreTrainedConfig
    folder: str
    device: str
    dtype: torch.dtype

    @cached_property  # asks the hub whether it can be reached, which takes seconds where it can't
    def location(self) -> dict[str, Any]:
        """Keyword arguments of any ``from_pretrained``."""
        return {
            "pretrained_model_name_or_path": self.folder,
            "revision": self.options.revision,
            "local_files_only": take_from_cache_only(self.folder, self.options.revision),
            "trust_remote_code": False,  # unsaid, transformers asks on the terminal
        }

    @property
    def batches(self) -> dict[str, Any]:
        """Name and batch sizes: keyword arguments of ``SpeechModel``."""
        is_gpu = self.device == "cuda"
        return {
            "name": self.options.path,
            "encoder_batch_size": self.options.encoder_batch_size or (4 if is_gpu else 1),
            "prefill_batch_tokens": self.options.prefill_batch_tokens or (16_384 if is_gpu else 1),
        }

    def load_weights(self, model_class: Any, *, eager_parts: Sequence[str] = ()) -> Any:
        """Load a Hugging Face model, complete and in eval mode; or make one with seeded random weights.

        A LoRA adapter beside the weights is merged into them.

        ``eager_parts``: parts of its config, such as ``audio_config``, that have no fused attention.

        Raises
        ------
        ModelError
            Weights are missing, or not of the shape that config.json gives.
        """
        attention: Any = self.options.attn_implementation
        if eager_parts:
            attention = dict.fromkeys(["", *self.config.sub_configs], attention)
            attention |= dict.fromkeys(eager_parts, "eager")
        if self.options.random_weights:
            return self._random_weights(model_class, attention).eval().requires_grad_(False)
        model, report = model_class.from_pretrained(
            **self.location,
            config=self.config,
            dtype=self.dtype,
            attn_implementation=attention,
            device_map=self.options.device_map or {"": self.device},
            use_safetensors=True,  # a pickle may hold code
            adapter_kwargs={"subfolder": "none"},  # or it would wrap layers where peft is installed
            ignore_mismatched_sizes=True,  # reported with the missing ones
            output_loading_info=True,
        )
        self._check_complete(report)
        merge_adapter(self, model)
        return model.eval().requires_grad_(False)

    def weight_names(self) -> set[str]:
        """Read the names of the stored weights, without loading them."""
        file = self.stored_file("model.safetensors.index.json", needed=False)
        if file is not None:
            return set(json.loads(Path(file).read_text())["weight_map"])
        with safe_open(self.stored_file("model.safetensors"), "pt") as weights:
            return set(weights.keys())

    def stored_file(self, name: str, *, subfolder: str = "", needed: bool = True) -> str | None:
        """Find a file of the folder or hub repository; None where it is missing and not needed."""
        file: str | None = cached_file(
            self.folder,
            name,
            subfolder=subfolder,
            revision=self.options.revision,
            local_files_only=self.location["local_files_only"],
            _raise_exceptions_for_missing_entries=needed,
        )
        return file

    def _check_complete(self, report: dict[str, Any]) -> None:
        """Refuse a checkpoint whose gaps transformers would fill with random weights."""
        faulty = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
        if faulty:
            raise ModelError(
                f"model {self.options.path} is incomplete: {len(faulty)} weights, such as {faulty[0]}, are "
                "missing or not of the shape that its config.json says"
            )

    def _random_weights(self, model_class: Any, attention: Any) -> Any:
        self.config._attn_implementation = attention
        with torch.random.fork_rng(devices=["cuda"] if self.device == "cuda" else []):
            torch.manual_seed(0)
            before = torch.get_default_dtype()
            torch.set_default_dtype(self.dtype)  # so that 8 B parameters never exist in float32
            try:
                with torch.device(self.device):
                    return model_class(self.config)
            finally:
                torch.set_default_dtype(before)


def end_token_ids(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """Read the tokens that end an answer: the generation config's, else the tokenizer's."""
    ids = generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    ids = ids if isinstance(ids, list | tuple) else [ids]
    if not all(isinstance(token_id, int) for token_id in ids):
        raise ModelError(f"eos_token_id of the model's generation_config.json is {ids!r}: give numbers")
    return frozenset(ids)
