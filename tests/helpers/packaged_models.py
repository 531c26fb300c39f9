"""Tiny models as packages carry them: CTranslate2's and GGUF's binary formats, and wheels around them."""

import hashlib
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

BYTES = sorted(ByteLevel.alphabet())
CT2_TYPES = {"float32": 0, "int16": 2, "float16": 4}
WHISPER_TASKS = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
WHISPER_TOKENS = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>"),
    *(f"<|{task}|>" for task in WHISPER_TASKS),
]
TIMESTAMPS = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
CHAT_TEMPLATE = "{% for message in messages %}<s>{{ message['content'] }}{% endfor %}"
LLAMA_TOKENS = ["<unk>", "<s>", "</s>"]


def tiny_whisper() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    end = len(BYTES)
    config = WhisperConfig(
        vocab_size=end + len(WHISPER_TOKENS) + len(TIMESTAMPS),
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=40,
        num_mel_bins=8,
        decoder_start_token_id=end + 1,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
    )
    model = WhisperForConditionalGeneration(config).half().eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
    return model


def whisper_tokenizer() -> bytes:
    """A tokenizer.json of bytes and of Whisper's own tokens."""
    added = [
        {"id": len(BYTES) + number, "content": token, "special": token not in TIMESTAMPS, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for number, token in enumerate([*WHISPER_TOKENS, *TIMESTAMPS])
    ]
    vocab = {byte: number for number, byte in enumerate(BYTES)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    return json.dumps(content).encode()


def whisper_settings() -> bytes:
    english = len(BYTES) + WHISPER_TOKENS.index("<|en|>")
    lists = {"suppress_ids": [1], "suppress_ids_begin": [len(BYTES)], "alignment_heads": [[0, 1]]}
    return json.dumps(lists | {"lang_ids": [english, english + 1]}).encode()


def as_ctranslate2(model: WhisperForConditionalGeneration) -> bytes:
    """CTranslate2's model.bin of a Whisper, as its converter writes it."""
    weights = {name: values.numpy() for name, values in model.state_dict().items()}
    variables: dict[str, np.ndarray] = {}

    def put(target: str, *sources: str, names: tuple[str, str] = ("weight", "bias")) -> None:
        joined = [weights[f"{source}.weight"] for source in sources]
        biases = [weights.get(f"{source}.bias", np.zeros(len(joined[0]), "float16")) for source in sources]
        variables[f"{target}/{names[0]}"] = np.concatenate(joined)
        variables[f"{target}/{names[1]}"] = np.concatenate(biases)

    for side, layers in (("encoder", 2), ("decoder", 1)):
        variables[f"{side}/num_heads"] = np.int16(2)
        variables[f"{side}/position_encodings/encodings"] = weights[f"model.{side}.embed_positions.weight"]
        put(f"{side}/layer_norm", f"model.{side}.layer_norm", names=("gamma", "beta"))
        for number in range(layers):
            source, target = f"model.{side}.layers.{number}", f"{side}/layer_{number}"
            own, other = f"{source}.self_attn", f"{source}.encoder_attn"
            put(f"{target}/self_attention/linear_0", *(f"{own}.{name}_proj" for name in "qkv"))
            put(f"{target}/self_attention/linear_1", f"{own}.out_proj")
            norms = {"self_attention": "self_attn_layer_norm", "ffn": "final_layer_norm"}
            if side == "decoder":
                put(f"{target}/attention/linear_0", f"{other}.q_proj")
                put(f"{target}/attention/linear_1", f"{other}.k_proj", f"{other}.v_proj")
                put(f"{target}/attention/linear_2", f"{other}.out_proj")
                norms["attention"] = "encoder_attn_layer_norm"
            for block, norm in norms.items():
                put(f"{target}/{block}/layer_norm", f"{source}.{norm}", names=("gamma", "beta"))
            put(f"{target}/ffn/linear_0", f"{source}.fc1")
            put(f"{target}/ffn/linear_1", f"{source}.fc2")
    for name in ("conv1", "conv2"):
        put(f"encoder/{name}", f"model.encoder.{name}")
    variables["decoder/embeddings/weight"] = weights["model.decoder.embed_tokens.weight"]
    content = struct.pack("<I", 6) + _ct2_text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, values in sorted(variables.items()):
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        kind = struct.pack("<BI", CT2_TYPES[str(values.dtype)], values.nbytes)
        content += _ct2_text(name) + shape + kind + values.tobytes()
    aliases = _ct2_text("decoder/projection/weight") + _ct2_text("decoder/embeddings/weight")
    return content + struct.pack("<I", 1) + aliases


def _ct2_text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def tiny_llama() -> LlamaForCausalLM:
    """A Llama whose weights are exact in bfloat16; embeddings and one layer also in GGUF's blocks."""
    return _tiny_language_model(LlamaConfig, LlamaForCausalLM, tie_word_embeddings=True)


def tiny_qwen2() -> Qwen2ForCausalLM:
    """The same of Qwen2, whose query, key and value have biases, with an output layer of its own."""
    return _tiny_language_model(Qwen2Config, Qwen2ForCausalLM, tie_word_embeddings=False)


def _tiny_language_model(config_class: type, model_class: type, *, tie_word_embeddings: bool) -> Any:
    torch.manual_seed(0)
    config = config_class(
        vocab_size=len(LLAMA_TOKENS) + len(BYTES) + 1,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=tie_word_embeddings,
    )
    model = model_class(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.data = torch.randn(weight.shape)
        weight.data = weight.data.bfloat16().float()
    embeddings = model.model.embed_tokens.weight.data
    embeddings.copy_(torch.randint(-127, 128, embeddings.shape) / 64)
    down = model.model.layers[1].mlp.down_proj.weight.data
    down.copy_(torch.randint(0, 16, down.shape) / 16 - 0.5)
    return model


def as_gguf(model: LlamaForCausalLM | Qwen2ForCausalLM) -> bytes:
    """A GGUF file of a language model: embeddings in Q8_0, one layer in Q4_1, the rest in float32."""
    config = model.config
    kind = config.model_type
    metadata: dict[str, Any] = {
        "general.architecture": kind,
        f"{kind}.block_count": config.num_hidden_layers,
        f"{kind}.context_length": config.max_position_embeddings,
        f"{kind}.embedding_length": config.hidden_size,
        f"{kind}.feed_forward_length": config.intermediate_size,
        f"{kind}.attention.head_count": config.num_attention_heads,
        f"{kind}.attention.head_count_kv": config.num_key_value_heads,
        f"{kind}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{kind}.rope.freq_base": config.rope_parameters["rope_theta"],
        "tokenizer.ggml.tokens": [*LLAMA_TOKENS, *BYTES, "12"],
        "tokenizer.ggml.token_type": [3] * len(LLAMA_TOKENS) + [1] * (len(BYTES) + 1),
        "tokenizer.ggml.merges": ["1 2"],
        **{f"tokenizer.ggml.{name}_token_id": number for name, number in _LLAMA_IDS.items()},
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    tensors = {"token_embd.weight": _q8_0(model.model.embed_tokens.weight.data, 1 / 64)}
    tensors["output_norm.weight"] = _f32(model.model.norm.weight.data)
    if not config.tie_word_embeddings:
        tensors["output.weight"] = _f32(model.lm_head.weight.data)
    in_llamas_order = _interleaved if kind == "llama" else lambda weight, num_heads: weight
    for number, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        weights = {
            "attn_q": in_llamas_order(attention.q_proj.weight.data, config.num_attention_heads),
            "attn_k": in_llamas_order(attention.k_proj.weight.data, config.num_key_value_heads),
            "attn_v": attention.v_proj.weight.data,
            "attn_output": attention.o_proj.weight.data,
            "attn_norm": layer.input_layernorm.weight.data,
            "ffn_gate": mlp.gate_proj.weight.data,
            "ffn_up": mlp.up_proj.weight.data,
            "ffn_down": mlp.down_proj.weight.data,
            "ffn_norm": layer.post_attention_layernorm.weight.data,
        }
        tensors |= {f"blk.{number}.{name}.weight": _f32(values) for name, values in weights.items()}
        for name in "qkv" if kind == "qwen2" else "":
            bias = getattr(attention, f"{name}_proj").bias.data
            tensors[f"blk.{number}.attn_{name}.bias"] = _f32(bias)
    tensors["blk.1.ffn_down.weight"] = _q4_1(model.model.layers[1].mlp.down_proj.weight.data, 1 / 16, -0.5)
    content = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for name, value in metadata.items():
        content += _gguf_text(name) + _gguf_value(value)
    data = b""
    for name, (shape, kind, values) in tensors.items():
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        content += _gguf_text(name) + dimensions + struct.pack("<IQ", kind, len(data))
        data += values + bytes(-len(values) % 32)
    return content + bytes(-len(content) % 32) + data


_LLAMA_IDS = {"unknown": 0, "bos": 1, "eos": 2, "padding": 2}
Stored = tuple[tuple[int, ...], int, bytes]


def _interleaved(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Rows in llama.cpp's order for its rotary embedding."""
    rows, columns = weight.shape
    halves = weight.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _f32(values: torch.Tensor) -> Stored:
    return tuple(values.shape), 0, values.float().numpy().tobytes()


def _q8_0(values: torch.Tensor, scale: float) -> Stored:
    blocks = (values / scale).round().to(torch.int8).numpy().reshape(-1, 32)
    return tuple(values.shape), 8, b"".join(struct.pack("<e", scale) + block.tobytes() for block in blocks)


def _q4_1(values: torch.Tensor, scale: float, minimum: float) -> Stored:
    blocks = ((values - minimum) / scale).round().to(torch.uint8).numpy().reshape(-1, 2, 16)
    head = struct.pack("<ee", scale, minimum)
    return tuple(values.shape), 3, b"".join(head + (low | high << 4).tobytes() for low, high in blocks)


def _gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _gguf_value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _gguf_text(value)
    if isinstance(value, list):
        inner = [_gguf_value(item) for item in value]
        return (
            struct.pack("<I", 9)
            + inner[0][:4]
            + struct.pack("<Q", len(inner))
            + b"".join(i[4:] for i in inner)
        )
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> str:
    """Write a wheel that pip downloads; returns its SHA-256."""
    info = f"{name.replace('-', '_')}-{version}"
    wheel = folder / f"{info}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(
            f"{info}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(f"{info}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}.dist-info/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()
