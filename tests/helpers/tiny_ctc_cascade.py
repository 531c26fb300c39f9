"""A tiny cascade without a decoder: a random connector between the two models of the tiny cascade."""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, layer_norm, linear, normalize

from speechprune.audio import SAMPLE_RATE
from speechprune.models.packed_weights import pack
from tests.helpers.tiny_cascade import CascadeOracle, save_tiny_cascade
from tests.helpers.tiny_models import byte_level_processor

ENCODER_SIZE, HIDDEN_SIZE, EMBEDDING_SIZE = 32, 48, 64
SHARPNESS = 4.0  # of the weights that decide between tokens: ties would be decided by rounding
BLANK_BIAS = 1.0


def save_tiny_ctc_cascade(folder: Path) -> str:
    """Save both models, and a connector that knows every token of text."""
    save_tiny_cascade(folder)
    tokenizer = byte_level_processor().tokenizer
    token_ids = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        stacked = 4 * ENCODER_SIZE
        weights = {
            "encoder.layers.1.fc1.weight": torch.randn(64, ENCODER_SIZE) / 4,
            "encoder.layers.1.fc1.bias": torch.randn(64) / 4,
            "encoder.layer_norm.weight": torch.randn(ENCODER_SIZE) / 4,
            "connector.norm.weight": 1 + torch.randn(stacked) / 4,
            "connector.norm.bias": torch.randn(stacked) / 4,
            "connector.up.weight": torch.randn(HIDDEN_SIZE, stacked) / stacked**0.5,
            "connector.up.bias": torch.randn(HIDDEN_SIZE),
            "connector.down.weight": SHARPNESS * torch.randn(EMBEDDING_SIZE, HIDDEN_SIZE),
            "connector.down.bias": torch.randn(EMBEDDING_SIZE),
            "connector.blank.weight": SHARPNESS * torch.randn(1, HIDDEN_SIZE),
            "connector.blank.bias": torch.full((1,), BLANK_BIAS),
        }
    save_file(
        pack(weights) | {"token_ids": torch.tensor(token_ids, dtype=torch.int32)},
        folder / "connector.safetensors",
    )
    sizes = {"hidden_size": HIDDEN_SIZE, "num_tokens": len(token_ids)}
    config = {"model_type": "ctc_cascade", "whisper": "whisper", "llm": "llm", "connector": sizes}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


class CtcCascadeOracle(CascadeOracle):
    """The best path of plain logits, and the Llama's own forward."""

    def __init__(self, model) -> None:
        super().__init__(model)
        stored = load_file(f"{model.name}/connector.safetensors")
        self._token_ids = stored.pop("token_ids").tolist()
        self._weights = {name: plain(stored, name) for name in stored if not name.endswith(".scales")}
        for name, difference in self._weights.items():
            if name.startswith("encoder."):
                self._whisper.get_parameter(f"model.{name}").data += difference
        known = self._llm.get_input_embeddings().weight[self._token_ids]
        self._directions = normalize(known - known.mean(dim=0), dim=-1)

    def path(self, window: np.ndarray) -> list[int]:
        """The likeliest class of each frame that has sound."""
        features = self._extractor(window / 32768, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        states = self._whisper.get_encoder()(features["input_features"]).last_hidden_state[0]
        w = {name.removeprefix("connector."): weight for name, weight in self._weights.items()}
        stacked = states.reshape(375, -1)
        normed = layer_norm(stacked, stacked.shape[1:], w["norm.weight"], w["norm.bias"])
        hidden = gelu(linear(normed, w["up.weight"], w["up.bias"]))
        vectors = linear(hidden, w["down.weight"], w["down.bias"])
        blank = linear(hidden, w["blank.weight"], w["blank.bias"])
        logits = torch.cat([blank, vectors @ self._directions.T], dim=1)
        return logits.argmax(dim=1)[: -(-len(window) // 1280)].tolist()

    @torch.inference_mode()
    def _write(self, window: np.ndarray) -> str:
        ids = [self._token_ids[place - 1] for place, _ in groupby(self.path(window)) if place]
        return "".join(f" {word}" for word in self._tokenizer.decode(ids).split())


def plain(stored: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """A weight of the file: the low and the high half of each byte, minus 7, times the scale of its group."""
    if f"{name}.scales" not in stored:
        return stored[name].float()
    packed, scales = stored[name].numpy(), stored[f"{name}.scales"].float().numpy()
    halves = np.empty((packed.shape[0], 2 * packed.shape[1]), np.float32)
    halves[:, ::2], halves[:, 1::2] = packed & 15, packed >> 4
    return torch.from_numpy((halves - 7) * scales.repeat(halves.shape[1] // scales.shape[1], axis=1))
