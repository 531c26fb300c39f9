"""The demo model before training: configuration, tokenizer, processor and Hugging Face modules."""

from __future__ import annotations

import math
import string
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.grammar import vocabulary
from speechprune.inference.prompts import LETTERS, PromptFormat
from speechprune.lab.training.config import ModelSize
from speechprune.models.qwen2_audio import WINDOW_SECONDS

CHAT_TEMPLATE_FILE = Path(__file__).with_name("chat_template.jinja")
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
]
UNKNOWN = "<unk>"
TEMPLATE_WORDS = ["system", "user", "assistant", "audio", "1", "you", "are", "a", "helpful"]
MAX_POSITIONS = 8192


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer: one token per word of the grammar and per letter of a choice, ``<unk>`` otherwise.

    Words are lower-cased, single capitals are not: "A" is the letter of a choice.
    """
    wording = PromptFormat()
    asked = wording.prompt.format(question="", choices="").lower()
    words = [word.strip(string.punctuation) for word in asked.split()]
    known = sorted({*vocabulary(), *words, *TEMPLATE_WORDS} - {"", *LETTERS})
    tokens = [*SPECIAL_TOKENS, UNKNOWN, *".,:?!;'-", *LETTERS, *known]
    tokenizer = Tokenizer(
        models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=UNKNOWN)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(f"{letter}(?=[A-Za-z])"), letter.lower()) for letter in LETTERS]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(behavior="isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=UNKNOWN,
        additional_special_tokens=SPECIAL_TOKENS,
        model_max_length=MAX_POSITIONS,
    )


def make_processor(size: ModelSize, tokenizer: PreTrainedTokenizerFast | None = None) -> Qwen2AudioProcessor:
    """Whisper's log-mel features and a tokenizer (`make_tokenizer`), with Qwen2-Audio's chat template."""
    feature_extractor = WhisperFeatureExtractor(
        feature_size=size.num_mel_bins,
        sampling_rate=SAMPLE_RATE,
        chunk_length=WINDOW_SECONDS,
        return_attention_mask=True,
    )
    return Qwen2AudioProcessor(
        feature_extractor, tokenizer or make_tokenizer(), chat_template=CHAT_TEMPLATE_FILE.read_text()
    )


def make_config(size: ModelSize, tokenizer: PreTrainedTokenizerFast) -> Qwen2AudioConfig:
    """Qwen2-Audio's configuration at a small size."""
    return Qwen2AudioConfig(
        architectures=["Qwen2AudioForConditionalGeneration"],
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": size.num_mel_bins,
            "d_model": size.encoder_hidden_size,
            "encoder_layers": size.encoder_layers,
            "encoder_attention_heads": size.encoder_heads,
            "encoder_ffn_dim": size.encoder_ffn_size,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": size.hidden_size,
            "intermediate_size": size.intermediate_size,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads,
            "max_position_embeddings": MAX_POSITIONS,
            "tie_word_embeddings": False,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )


def make_model(size: ModelSize, tokenizer: PreTrainedTokenizerFast) -> Qwen2AudioForConditionalGeneration:
    """Qwen2-Audio's own modules, float32, randomly initialised from torch's seed."""
    model = Qwen2AudioForConditionalGeneration(make_config(size, tokenizer))
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    model = model.to(torch.float32)
    positions = model.model.audio_tower.embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    return model


def sinusoids(length: int, channels: int) -> torch.Tensor:
    """Whisper's position embeddings: sines, then cosines, ``(length, channels)``."""
    increment = math.log(10_000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-increment * torch.arange(channels // 2))[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
