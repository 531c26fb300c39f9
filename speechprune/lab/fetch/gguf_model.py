"""The folder of Llama or of Qwen2 in Hugging Face's layout, made from a GGUF file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.integrations.gguf import GgufHeader, load_gguf_state_dict, read_gguf_metadata
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from speechprune.lab.fetch.folders import write_json
from speechprune.lab.fetch.gguf_blocks import QUANTISED, dequantize

# number of the layer, where it is in one, and name
NAME = re.compile(r"^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$")
CONTROL = 3  # GGUF's type of a special token
DTYPE = torch.bfloat16  # the published model's
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
OTHER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}  # Hugging Face's names, GGUF's


@dataclass(frozen=True)
class Architecture:
    """What an architecture has of its own.

    Parameters
    ----------
    model_class
        Hugging Face's class.
    rotary_pairs
        Whether llama.cpp orders the rows of queries and keys for neighbouring pairs.
    normalizer, pre_tokenizer
        Of its tokenizer; Transformers' own conversion of GGUF does not split numbers into digits for SmolLM.
    """

    model_class: str
    rotary_pairs: bool
    pre_tokenizer: Any
    normalizer: Any = None


ARCHITECTURES = {
    "llama": Architecture(  # with SmolLM's tokenizer: GPT-2's pieces of text, numbers split into digits
        model_class="LlamaForCausalLM",
        rotary_pairs=True,
        pre_tokenizer=pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
    ),
    "qwen2": Architecture(
        model_class="Qwen2ForCausalLM",
        rotary_pairs=False,
        pre_tokenizer=pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        normalizer=normalizers.NFC(),
    ),
}


def write_gguf_model(folder: Path, model: Path) -> None:
    """Write dequantized weights, configuration, tokenizer and chat template.

    Parameters
    ----------
    folder
        An empty folder.
    model
        A GGUF file of one of ``ARCHITECTURES``.
    """
    texts = {f"tokenizer.ggml.{key}" for key in ("tokens", "merges")}
    metadata, _ = read_gguf_metadata(str(model), texts)
    weights = _weights(model, metadata)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = _make_tokenizer(metadata).to_str(pretty=True)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(metadata["tokenizer.chat_template"], encoding="utf-8")
    keys = {name: f"tokenizer.ggml.{key}_token_id" for name, key in SPECIAL.items()}
    ids = {name: metadata[key] for name, key in keys.items() if key in metadata}
    tokens = metadata["tokenizer.ggml.tokens"]
    config = _model_config(metadata) | {"tie_word_embeddings": "lm_head.weight" not in weights}
    write_json(folder / "config.json", config | _ids(ids))
    write_json(folder / "generation_config.json", _ids(ids))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
            **{f"{name}_token": tokens[number] for name, number in ids.items()},
        },
    )


def _ids(ids: dict[str, int]) -> dict[str, int]:
    return {f"{name}_token_id": number for name, number in ids.items() if name != "unk"}


def _weights(model: Path, metadata: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Dequantized in float32, then rounded to ``DTYPE``."""
    config = _model_config(metadata)
    num_heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    has_pairs = ARCHITECTURES[metadata["general.architecture"]].rotary_pairs
    header = GgufHeader.from_file(str(model))
    stored = load_gguf_state_dict(header)
    weights = {}
    for info in header.tensors:
        values = stored[info.name][...]
        if info.ggml_type in QUANTISED:
            values = dequantize(values.flatten(), info.ggml_type).reshape(info.shape)
        layer, name, kind = NAME.findall(info.name)[0]
        if has_pairs and name in num_heads:
            values = _rotary_halves(values, num_heads[name])
        target = OTHER_NAMES[name] if not layer else f"model.layers.{layer}.{LAYER_NAMES[name]}"
        weights[f"{target}.{kind}"] = values.to(DTYPE).contiguous()
    return weights


def _rotary_halves(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Order a head's rows as Hugging Face's rotary embedding pairs them: i with i + half, not with i + 1."""
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def _model_config(metadata: dict[str, Any]) -> dict[str, Any]:
    kind = metadata["general.architecture"]
    return {
        "architectures": [ARCHITECTURES[kind].model_class],
        "model_type": kind,
        "dtype": str(DTYPE).removeprefix("torch."),
        "hidden_size": metadata[f"{kind}.embedding_length"],
        "intermediate_size": metadata[f"{kind}.feed_forward_length"],
        "num_hidden_layers": metadata[f"{kind}.block_count"],
        "num_attention_heads": metadata[f"{kind}.attention.head_count"],
        "num_key_value_heads": metadata[f"{kind}.attention.head_count_kv"],
        "max_position_embeddings": metadata[f"{kind}.context_length"],
        "rms_norm_eps": round(metadata[f"{kind}.attention.layer_norm_rms_epsilon"], 9),  # stored in float32
        "rope_parameters": {"rope_type": "default", "rope_theta": metadata[f"{kind}.rope.freq_base"]},
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
    }


def _make_tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """Byte-pair encoding of the pieces of text that the architecture's tokenizer makes."""
    architecture = ARCHITECTURES[metadata["general.architecture"]]
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = architecture.pre_tokenizer
    if architecture.normalizer is not None:
        tokenizer.normalizer = architecture.normalizer
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token, kind in zip(tokens, types, strict=True)
            if kind == CONTROL
        ]
    )
    return tokenizer
