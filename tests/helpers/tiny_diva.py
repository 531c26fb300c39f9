"""A tiny DiVA, in the layout of its hub repositories, and a plain reading of its recipe as oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, layer_norm, linear
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.tiny_llama import HIDDEN, LlamaOracle, save_llama
from tests.helpers.tiny_models import spread_weights

WIDTH, HEADS, LAYERS, QUERIES = 32, 2, 2, 48


def save_tiny_diva(folder: Path) -> str:
    """Save DiVA's own weights, and both reference models in folders beside config.json."""
    folder.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        whisper = _save_whisper(folder / "whisper")
        save_llama(folder / "llama")
        spread_weights(whisper.model.decoder)
        connector = {
            f"connector.{name}": weight for name, weight in whisper.model.decoder.state_dict().items()
        }
        own = {
            "query_tokens": torch.randn(QUERIES, WIDTH),
            "projection.weight": torch.randn(WIDTH, HIDDEN) * 0.1,  # transposed, as published
            "projection.bias": torch.randn(HIDDEN) * 0.1,
        }
    save_file(connector | own, folder / "model.safetensors", metadata={"format": "pt"})
    parts = {"reference_encoder": "whisper", "reference_decoder": "llama"}
    config = {"model_type": "diva", "architectures": ["DiVAModel"], "vocab_size": 606, **parts}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _save_whisper(folder: Path) -> WhisperForConditionalGeneration:
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 0}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=20,
            d_model=WIDTH,
            encoder_layers=LAYERS,
            decoder_layers=LAYERS,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_target_positions=QUERIES,
            **ends,
        )
    )
    spread_weights(model)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return model


class DivaOracle(LlamaOracle):
    """The recipe layer by layer, from the files: nothing of the family's own modules."""

    def __init__(self, model) -> None:
        folder = Path(model.name)
        self._weights = load_file(folder / "model.safetensors")
        self._encoder = WhisperModel.from_pretrained(folder / "whisper", dtype=torch.float32).encoder
        self._extractor = WhisperFeatureExtractor.from_pretrained(folder / "whisper")
        super().__init__(folder / "llama")

    @torch.inference_mode()
    def window(self, samples: np.ndarray) -> torch.Tensor:
        """Audio tokens of a window."""
        mel = self._extractor(samples / 32768, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        sound = self._encoder(mel["input_features"]).last_hidden_state[0]
        x = self._weights["query_tokens"] + self._weights["connector.embed_positions.weight"]
        for number in range(LAYERS):
            layer = f"connector.layers.{number}."
            normed = self._norm(layer + "self_attn_layer_norm", x)
            x = x + self._attend(layer + "self_attn.", normed, normed, is_causal=True)
            normed = self._norm(layer + "encoder_attn_layer_norm", x)
            x = x + self._attend(layer + "encoder_attn.", normed, sound, is_causal=False)
            normed = self._norm(layer + "final_layer_norm", x)
            x = x + self._linear(layer + "fc2", gelu(self._linear(layer + "fc1", normed)))
        x = self._norm("connector.layer_norm", x)
        return x @ self._weights["projection.weight"] + self._weights["projection.bias"]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (WIDTH,), self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self._weights[name + ".weight"], self._weights.get(name + ".bias"))

    def _attend(self, name: str, x: torch.Tensor, to: torch.Tensor, *, is_causal: bool) -> torch.Tensor:
        queries, keys, values = (
            self._linear(name + kind, of).unflatten(-1, (HEADS, -1)).transpose(0, 1)
            for kind, of in (("q_proj", x), ("k_proj", to), ("v_proj", to))
        )
        scores = queries @ keys.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        mixed = (scores.softmax(-1) @ values).transpose(0, 1).flatten(1)
        return self._linear(name + "out_proj", mixed)

    def chat(self, user_text: str) -> tuple[str, str]:
        header = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n"
        before = f"{header}{user_text}\n{header}"
        return before, "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
