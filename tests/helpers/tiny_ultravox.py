"""A tiny Ultravox, in the layout of its hub repositories, and a plain reading of its own code as oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, linear, pad, silu
from transformers import (
    AutoTokenizer,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE
from tests.helpers.tiny_llama import CHAT_TEMPLATE, HIDDEN, LlamaOracle, save_llama
from tests.helpers.tiny_models import spread_weights

WIDTH, STACK, PROJECTOR_SIZE = 32, 8, 96
PROJECTOR, TOWER = "multi_modal_projector.", "audio_tower."


def save_tiny_ultravox(folder: Path) -> str:
    """Save projector and tuned encoder as version 0.5 has them, Llama and an untuned Whisper beside them."""
    folder.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        save_llama(folder / "llama")
        tuned = _save_whisper(folder / "whisper").model.encoder
        spread_weights(tuned)
        stacked, states = WIDTH * STACK, PROJECTOR_SIZE // 2
        projector = {
            "ln_pre.weight": torch.rand(stacked) + 0.5,
            "linear_1.weight": torch.randn(PROJECTOR_SIZE, stacked) * 0.1,
            "ln_mid.weight": torch.rand(states) + 0.5,
            "linear_2.weight": torch.randn(HIDDEN, states) * 0.1,
        }
    weights = {PROJECTOR + name: weight for name, weight in projector.items()}
    weights |= {TOWER + name: weight for name, weight in tuned.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(folder / "llama").save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    config = {
        "model_type": "ultravox",
        "architectures": ["UltravoxModel"],
        "auto_map": {"AutoModel": "ultravox_model.UltravoxModel"},
        "audio_config": tuned.config.to_dict(),
        "audio_model_id": None,
        "text_model_id": "llama",
        "hidden_size": PROJECTOR_SIZE,
        "projector_act": "swiglu",
        "projector_ln_mid": True,
        "stack_factor": STACK,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _save_whisper(folder: Path) -> WhisperForConditionalGeneration:
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 0}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=20,
            d_model=WIDTH,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_target_positions=8,
            **ends,
        )
    )
    spread_weights(model)
    model.save_pretrained(folder)
    return model


class UltravoxOracle(LlamaOracle):
    """Its own code layer by layer, from the files: nothing of the family's own modules.

    A window is alone, as long as its sound: the encoder's masks, which are ours, hide nothing here.
    """

    def __init__(self, model) -> None:
        folder = Path(model.name)
        super().__init__(folder / "llama")
        self._weights = load_file(folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())["audio_config"]
        self._encoder = WhisperEncoder(WhisperConfig(**config)).eval()
        own = {name.removeprefix(TOWER): w for name, w in self._weights.items() if name.startswith(TOWER)}
        self._encoder.load_state_dict(own)
        self._extractor = WhisperFeatureExtractor()

    @torch.inference_mode()
    def window(self, samples: np.ndarray) -> torch.Tensor:
        mel = self._extractor(samples / 32768, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        num_frames = -(-len(samples) // MEL_HOP_SAMPLES)
        x = gelu(self._encoder.conv1(mel["input_features"][..., :num_frames]))
        x = gelu(self._encoder.conv2(x)).transpose(1, 2)
        x = x + self._encoder.embed_positions.weight[: x.shape[1]]
        for layer in self._encoder.layers:
            x = layer(x, None)
        x = self._encoder.layer_norm(x)[0]
        missing = -len(x) % STACK
        x = pad(x, (0, 0, 0, missing)).reshape(-1, STACK * WIDTH)
        x = linear(self._norm("ln_pre", x), self._weights[f"{PROJECTOR}linear_1.weight"])
        x = silu(x[:, PROJECTOR_SIZE // 2 :]) * x[:, : PROJECTOR_SIZE // 2]
        return linear(self._norm("ln_mid", x), self._weights[f"{PROJECTOR}linear_2.weight"])

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        scale = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        return x * scale * self._weights[f"{PROJECTOR}{name}.weight"]

    def chat(self, user_text: str) -> tuple[str, str]:
        before = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        return before, f" \n\n{user_text}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
