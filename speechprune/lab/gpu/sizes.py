"""Sizes of the benchmark: of a card, and small ones that show on a CPU that all parts run."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2]
DEMO_MODEL = PACKAGE / "demo" / "model"
QWEN2_AUDIO_7B = PACKAGE / "models" / "configurations" / "qwen2-audio-7b.json"
TABLE_I_MILLISECONDS = {857: 779, 707: 662, 557: 511, 407: 419, 257: 278}  # by tokens of the prompt


@dataclass(frozen=True)
class Case:
    """Recordings of one length, and questions about each."""

    seconds: float
    num_questions: int
    num_recordings: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured; the defaults are a card's.

    ``audio``, ``text``: entries of config.json that differ from Qwen2-Audio's 8.4 B parameters.
    """

    audio: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    repeats: int = 7
    copy_bytes: int = 1 << 32
    square: int = 8192  # of the largest matrix product
    prompt_tokens: tuple[int, ...] = tuple(TABLE_I_MILLISECONDS)
    prompt_batch: int = 16
    encoder_batches: tuple[int, ...] = (1, 4, 8, 16, 32)
    lengths: tuple[float, ...] = (90.0, 900.0, 3600.0)  # of recordings to prune, seconds
    questions: tuple[int, ...] = (1, 8, 64)
    cases: tuple[Case, ...] = (Case(90.0, 1, 16), Case(90.0, 8, 4), Case(3600.0, 8, 1))
    generation_batches: tuple[int, ...] = (1, 8, 32)
    generation_prompt: int = 707
    new_tokens: int = 64
    few_layers: int = 4  # of the model on which float32 is compared
    compared_questions: int = 64
    compile_backend: str = "inductor"


CARD = Sizes()
SMOKE = Sizes(
    audio={"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128},
    text={
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 1024,
    },
    repeats=1,
    copy_bytes=1 << 20,
    square=64,
    prompt_tokens=(57, 27),
    prompt_batch=2,
    encoder_batches=(1, 2),
    lengths=(30.0, 90.0),
    questions=(1, 2),
    cases=(Case(3.0, 1, 2), Case(31.0, 2, 1)),
    generation_batches=(1, 2),
    generation_prompt=40,
    new_tokens=10,
    few_layers=1,
    compared_questions=2,
    compile_backend="eager",  # no C compiler
)


def make_model_folder(sizes: Sizes, folder: Path, num_layers: int | None = None) -> Path:
    """Write a model folder of Qwen2-Audio's sizes without weights: the demo model's tokenizer and template.

    - ``num_layers``: of both parts, where not the model's own.
    """
    shutil.copytree(DEMO_MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    demo = json.loads((folder / "config.json").read_text())
    config = json.loads(QWEN2_AUDIO_7B.read_text())
    config["audio_config"] |= sizes.audio
    config["text_config"] |= sizes.text
    if num_layers is not None:
        config["audio_config"]["encoder_layers"] = num_layers
        config["text_config"]["num_hidden_layers"] = num_layers
    config["audio_token_index"] = demo["audio_token_index"]
    (folder / "config.json").write_text(json.dumps(config))
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["feature_extractor"]["feature_size"] = config["audio_config"]["num_mel_bins"]
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder
