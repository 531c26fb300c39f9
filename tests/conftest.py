"""What several test files share: tiny real checkpoints, real speech, the folder of shared recordings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from transformers import AutoConfig, AutoProcessor, Qwen2AudioForConditionalGeneration

from speechprune import SpeechLM
from speechprune.audio import SAMPLE_RATE, decode_audio

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
SHARED_AUDIO = ROOT / "../shared/audio"
WEIGHT_SPREAD = 0.15  # wide enough that every token of the prompt moves the logits

settings.register_profile("speechprune", deadline=None, derandomize=True)
settings.load_profile("speechprune")
torch.set_num_threads(
    1
)  # nothing to share out in models this tiny, and on busy cores threads wait for threads


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


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", num_key_value_heads=4)


@pytest.fixture(scope="session")
def grouped_query_model_folder(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny_grouped", num_key_value_heads=2)


@pytest.fixture(scope="session")
def tiny_lm(tiny_model_folder) -> SpeechLM:
    return load_tiny_model(tiny_model_folder)


@pytest.fixture(scope="session")
def grouped_query_lm(grouped_query_model_folder) -> SpeechLM:
    return load_tiny_model(grouped_query_model_folder)


@pytest.fixture(scope="session")
def speech() -> Callable[..., np.ndarray]:
    """``speech(seconds, start=0.0)``: int16 at 16 kHz out of the demo archive, looped where it ends."""
    recordings = sorted((DEMO / "archive").glob("*.opus"))[:3]
    archive = np.concatenate([decode_audio(recording) for recording in recordings])

    def cut(seconds: float, start: float = 0.0) -> np.ndarray:
        positions = np.arange(round(start * SAMPLE_RATE), round((start + seconds) * SAMPLE_RATE))
        return archive[positions % len(archive)]

    return cut


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real recordings in many formats, where the project is checked out beside it."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("no shared recordings beside this checkout")
    return SHARED_AUDIO
