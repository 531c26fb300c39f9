"""Tiny real checkpoints of the Qwen2-Audio architecture, with the demo's tokenizer."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoProcessor, Qwen2AudioForConditionalGeneration

from speechprune import SpeechLM

DEMO = Path(__file__).parents[1] / "demo"
WEIGHT_SPREAD = 0.15  # wide enough that every token of the prompt moves the logits


def save_tiny_model(folder: Path, num_key_value_heads: int) -> str:
    """A checkpoint of the Qwen2-Audio architecture with seeded random weights and the demo's tokenizer."""
    config = AutoConfig.from_pretrained(DEMO / "model")
    for name, value in {
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
    }.items():
        setattr(config.audio_config, name, value)
    for name, value in {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": num_key_value_heads,
        "max_window_layers": 2,
        "layer_types": ["full_attention"] * 2,
        "max_position_embeddings": 4096,
    }.items():
        setattr(config.text_config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(num_key_value_heads)
        model = Qwen2AudioForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=WEIGHT_SPREAD)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(DEMO / "model").save_pretrained(folder)
    return str(folder)


def load_tiny_model(folder: str, **options) -> SpeechLM:
    """In float32 on the CPU, with room for batches, unless told otherwise."""
    defaults = {
        "dtype": "float32",
        "device": "cpu",
        "encoder_batch_size": 2,
        "prefill_batch_tokens": 16_384,
    }
    return SpeechLM.from_pretrained(folder, **(defaults | options))
