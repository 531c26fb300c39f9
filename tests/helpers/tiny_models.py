"""Tiny real checkpoints of the Qwen2-Audio architecture, with a tokenizer that knows every byte."""

import copy
import functools
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen2Model,
)

from speechprune import SpeechLM
from speechprune.benchmarks.builder.grammar import vocabulary
from speechprune.lab.training.blank_model import (
    MAX_POSITIONS,
    SPECIAL_TOKENS,
    make_config,
    make_processor,
)
from speechprune.lab.training.config import ModelSize
from speechprune.models.base import SpeechModel

DEMO = Path(__file__).parents[2] / "speechprune" / "demo"
TINY = ModelSize(
    encoder_hidden_size=32,
    encoder_layers=2,
    encoder_heads=2,
    encoder_ffn_size=64,
    hidden_size=64,
    intermediate_size=128,
    layers=2,
    heads=4,
)
VOCAB_SIZE = 600
WEIGHT_SPREAD = 0.15  # wide enough that every token of the prompt moves the logits


def byte_level_tokenizer(special_tokens: list[str]) -> Tokenizer:
    """Byte-level BPE, as Qwen's own: its alphabet holds every byte, so each letter is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=special_tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(vocabulary())], trainer)
    return tokenizer


@functools.cache
def byte_level_processor() -> Qwen2AudioProcessor:
    return make_processor(
        TINY,
        PreTrainedTokenizerFast(
            tokenizer_object=byte_level_tokenizer(SPECIAL_TOKENS),
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            additional_special_tokens=SPECIAL_TOKENS,
            model_max_length=MAX_POSITIONS,
        ),
    )


def save_tiny_model(folder: Path, num_key_value_heads: int) -> str:
    """A checkpoint of the Qwen2-Audio architecture with seeded random weights."""
    processor = byte_level_processor()
    config = make_config(TINY, processor.tokenizer)
    config.text_config.num_key_value_heads = num_key_value_heads
    config.text_config.max_position_embeddings = 4096
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(num_key_value_heads)
        model = Qwen2AudioForConditionalGeneration(config)
        spread_weights(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def spread_weights(model: torch.nn.Module, std: float = WEIGHT_SPREAD) -> None:
    """Draw all matrices anew."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=std)


def load_tiny_model(folder: str, **options) -> SpeechLM:
    """In float32 on the CPU, with room for batches, unless told otherwise."""
    defaults = {
        "dtype": "float32",
        "device": "cpu",
        "encoder_batch_size": 2,
        "prefill_batch_tokens": 16_384,
    }
    return SpeechLM.from_pretrained(folder, **(defaults | options))


def load_countable(folder: str, **options) -> SpeechModel:
    """A tiny model without fused attention and grouped experts, which torch's FLOP counter doesn't see."""
    model = load_tiny_model(folder, attn_implementation="eager", **options).model
    model.language_model.decoder.config._experts_implementation = "eager"
    return model


def with_sliding_window(model: SpeechModel) -> SpeechModel:
    """The same with another decoder, whose last layer sees 16 tokens back."""
    config = Qwen2Config(
        hidden_size=model.shape.decoder.hidden_size,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        layer_types=["full_attention", "sliding_attention"],
        sliding_window=16,
        use_sliding_window=True,
        vocab_size=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = Qwen2Model(config).eval()
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=WEIGHT_SPREAD)
    sliding = copy.copy(model)
    sliding.language_model = replace(model.language_model, decoder=decoder)
    return sliding
