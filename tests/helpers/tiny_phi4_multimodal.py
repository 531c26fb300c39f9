"""A tiny Phi-4-multimodal in the layout of its hub repository, and its own forward as oracle."""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GenerationConfig,
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    PreTrainedTokenizerFast,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.own_forward import OwnForwardOracle
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

CONTROL_TOKENS = [
    f"<|{name}|>" for name in ("endoftext", "image", "audio", "assistant", "end", "user", "system")
]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'audio' %}<|audio|>{% elif item['type'] == 'text' %}{{ item['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}"
)
ADAPTED = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
RANK, ALPHA = 4, 8


def save_tiny_phi4(folder: Path, switch: int = 4096) -> str:
    """Weights in shards, vision encoder included, two adapters in folders; one file for all features.

    ``switch``: tokens from which on the rotary factors are the long ones.
    """
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(CONTROL_TOKENS),
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        additional_special_tokens=CONTROL_TOKENS,
    )
    ends = tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    config = Phi4MultimodalConfig(**_config(tokenizer, switch), eos_token_id=ends)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = Phi4MultimodalForCausalLM(config)
        spread_weights(model)
        for name in ("speech", "vision"):
            _save_adapter(folder / f"{name}-lora", model)
    model.generation_config = GenerationConfig(eos_token_id=ends, bos_token_id=0, pad_token_id=0)
    model.save_pretrained(folder, max_shard_size="300KB")
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    features = json.loads(Phi4MultimodalFeatureExtractor().to_json_string())
    features |= {"image_processor_type": "Phi4MultimodalImageProcessorFast", "dynamic_hd": 36}
    (folder / "preprocessor_config.json").write_text(json.dumps(features))
    return str(folder)


def _save_adapter(folder: Path, model: torch.nn.Module) -> None:
    folder.mkdir(parents=True)
    weights = {}
    for name, module in model.named_modules():
        if name.startswith("model.layers.") and name.endswith(ADAPTED):
            weights[f"{name}.lora_A.weight"] = torch.randn(RANK, module.in_features) * 0.2
            weights[f"{name}.lora_B.weight"] = torch.randn(module.out_features, RANK) * 0.2
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.01,
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
        "rank_pattern": {},
        "modules_to_save": None,
        "target_modules": r"model.layers.\d+.((self_attn.(qkv|o)_proj)|(mlp.(gate_up|down)_proj))",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def _config(tokenizer: PreTrainedTokenizerFast, switch: int) -> dict:
    id_of = tokenizer.convert_tokens_to_ids
    factors = [1.0 + 0.1 * i for i in range(6)]
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "original_max_position_embeddings": switch,
        "sliding_window": 16384,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "pad_token_id": 0,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": factors,
            "long_factor": [4 * factor for factor in factors],
        },
        "partial_rotary_factor": 0.75,
        "audio_config": {
            "audio_token_id": id_of("<|audio|>"),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_blocks": 2,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
            "nemo_conv_channels": 8,
        },
        "vision_config": {
            "image_token_id": id_of("<|image|>"),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "crop_size": 56,
            "image_size": 56,
        },
    }


class Phi4Oracle(OwnForwardOracle):
    """Its own forward of token ids and of the features of all 40 s windows, a row each.

    The encoder is given rows at their own lengths: its mask does not hide what fills a short one up. The
    adapter is merged as peft does it.
    """

    def __init__(self, model) -> None:
        super().__init__(model)
        self._extract = functools.cache(_features)
        self._model = Phi4MultimodalForCausalLM.from_pretrained(model.name, dtype=torch.float32)
        adapter = load_file(Path(model.name) / "speech-lora" / "adapter_model.safetensors")
        for name in (name.removesuffix(".lora_A.weight") for name in adapter if "lora_A" in name):
            product = adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
            self._model.get_submodule(name).weight.data += ALPHA / RANK * product
        audio = self._model.model.embed_tokens_extend.audio_embed
        audio.encoder = _EachRowAlone(audio.encoder)

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        size = 40 * SAMPLE_RATE
        windows = [samples[i : i + size].tobytes() for i in range(0, len(samples), size)]
        rows, numbers = zip(*(self._extract(own) for own in windows), strict=True)
        sizes = torch.cat(numbers)
        prompt = f"<|user|>{'<|audio|>' * int(sizes.sum())}{user_text}<|end|><|assistant|>"
        return {
            **self._processor.tokenizer(prompt, return_tensors="pt", add_special_tokens=False),
            "audio_input_features": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "audio_embed_sizes": sizes,
            "audio_attention_mask": torch.nn.utils.rnn.pad_sequence(
                [torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True
            ),
        }


def _features(window: bytes) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of int16 samples, and the number of their tokens."""
    samples = np.frombuffer(window, np.int16).astype(np.float32) / 32768
    made = Phi4MultimodalFeatureExtractor()(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return made["audio_input_features"][0], made["audio_embed_sizes"]


class _EachRowAlone(torch.nn.Module):
    """An encoder that is given each row of a batch at its own length, without a mask."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows = [self.encoder(row[None, :n], None)[0] for row, n in zip(features, mask.sum(1), strict=True)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
