"""A Llama-like language model's folder in Hugging Face's layout, made from a GGUF file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.integrations.gguf import GgufHeader, load_gguf_state_dict, read_gguf_metadata
from transformers.integrations.gguf.dequant import GGML_BLOCK, dequantize

from speechprune.lab.fetch.folders import write_json

NAME = re.compile(r"^(?:blk\.(\d+)\.)?(\w+)\.weight$")  # number of the layer, where it is in one, and name
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
OTHER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}  # Hugging Face's names, GGUF's


def write_llama(folder: Path, model: Path) -> None:
    """Write dequantized weights, configuration, tokenizer and chat template.

    Parameters
    ----------
    folder
        An empty folder.
    model
        A GGUF file of architecture ``llama``, with tied embeddings and SmolLM's tokenizer.
    """
    texts = {f"tokenizer.ggml.{key}" for key in ("tokens", "merges")}
    metadata, _ = read_gguf_metadata(str(model), texts)
    save_file(_weights(model, metadata), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = _make_tokenizer(metadata).to_str(pretty=True)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(metadata["tokenizer.chat_template"], encoding="utf-8")
    ids = {name: metadata[f"tokenizer.ggml.{key}_token_id"] for name, key in SPECIAL.items()}
    tokens = metadata["tokenizer.ggml.tokens"]
    write_json(folder / "config.json", _model_config(metadata) | _ids(ids))
    write_json(folder / "generation_config.json", _ids(ids))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": metadata["llama.context_length"],
            "clean_up_tokenization_spaces": False,
            **{f"{name}_token": tokens[number] for name, number in ids.items()},
        },
    )


def _ids(ids: dict[str, int]) -> dict[str, int]:
    return {f"{name}_token_id": number for name, number in ids.items() if name != "unk"}


def _weights(model: Path, metadata: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Dequantized in float32, then rounded to ``DTYPE``."""
    num_heads = {
        "attn_q": metadata["llama.attention.head_count"],
        "attn_k": metadata["llama.attention.head_count_kv"],
    }
    header = GgufHeader.from_file(str(model))
    stored = load_gguf_state_dict(header)
    weights = {}
    for info in header.tensors:
        values = stored[info.name][...]
        if info.ggml_type in GGML_BLOCK:
            values = dequantize(values.flatten(), info.ggml_type, torch.float32).reshape(info.shape)
        layer, name = NAME.findall(info.name)[0]
        if name in num_heads:
            values = _rotary_halves(values, num_heads[name])
        target = OTHER_NAMES[name] if not layer else f"model.layers.{layer}.{LAYER_NAMES[name]}"
        weights[f"{target}.weight"] = values.to(DTYPE).contiguous()
    return weights


def _rotary_halves(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Order a head's rows as Hugging Face's rotary embedding pairs them: i with i + half, not with i + 1."""
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def _model_config(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": str(DTYPE).removeprefix("torch."),
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": round(metadata["llama.attention.layer_norm_rms_epsilon"], 9),  # stored in float32
        "rope_parameters": {"rope_type": "default", "rope_theta": metadata["llama.rope.freq_base"]},
        "vocab_size": metadata["llama.vocab_size"],
        "tie_word_embeddings": True,
    }


def _make_tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """SmolLM's: byte-pair encoding of GPT-2's pieces of text, with numbers split into digits.

    Transformers' own conversion does not split them in files of this kind.
    """
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
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
