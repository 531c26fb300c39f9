"""A tiny Qwen2.5-Omni, in the layout of its hub repository, and its own forward as oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.own_forward import OwnForwardOracle, windows_of_30_seconds
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory "
    "and visual inputs, as well as generating text and speech."
)
PUBLISHED_NAMES = {
    "model.language_model.": "thinker.model.",
    "model.audio_tower.": "thinker.audio_tower.",
    "model.visual.": "thinker.visual.",
    "lm_head.": "thinker.lm_head.",
}


def omni_tokenizer(special_tokens: list[str]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(special_tokens),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special_tokens,
    )


def save_tiny_omni(folder: Path) -> str:
    """A whole model as it is published: thinker and talker in two shards, no config of a processor."""
    tokenizer = omni_tokenizer(SPECIAL_TOKENS)
    config = Qwen2_5OmniConfig(thinker_config=_thinker_config(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        thinker = Qwen2_5OmniThinkerForConditionalGeneration(config.thinker_config)
        spread_weights(thinker)
    config.save_pretrained(folder)
    talker = {"talker.codec_head.weight": torch.zeros(4, 4), "token2wav.code2wav_dit_model.x": torch.zeros(4)}
    save_as_published(folder, tokenizer, CHAT_TEMPLATE, [thinker.state_dict(), talker])
    return str(folder)


def save_as_published(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    chat_template: str,
    shards: list[dict[str, torch.Tensor]],
) -> None:
    """Save all but config.json."""
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": chat_template}))
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=300, return_attention_mask=True)
    extractor.save_pretrained(folder)
    _save_shards(folder, [{_published_name(name): own[name] for name in own} for own in shards])


def _thinker_config(tokenizer: PreTrainedTokenizerFast) -> dict:
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("AUDIO", "IMAGE", "VIDEO")}
    return {
        "audio_token_index": ids["AUDIO"],
        "image_token_index": ids["IMAGE"],
        "video_token_index": ids["VIDEO"],
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_bos|>"),
        "audio_config": {
            "num_mel_bins": 80,
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "output_dim": 64,
        },
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": 64,
        },
        "text_config": {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "tie_word_embeddings": False,
        },
    }


def _published_name(name: str) -> str:
    for ours, theirs in PUBLISHED_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _save_shards(folder: Path, shards: list[dict[str, torch.Tensor]]) -> None:
    files = [f"model-{number + 1:05}-of-{len(shards):05}.safetensors" for number in range(len(shards))]
    for file, weights in zip(files, shards, strict=True):
        save_file(weights, folder / file, metadata={"format": "pt"})
    places = {name: file for file, weights in zip(files, shards, strict=True) for name in weights}
    size = sum(weight.nbytes for weights in shards for weight in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


class Qwen25OmniOracle(OwnForwardOracle):
    """Features of every 30 s window at its own length, the thinker's own forward."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self._extractor = WhisperFeatureExtractor.from_pretrained(model.name)

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        features = self._extractor(
            windows_of_30_seconds(samples),
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=30 * SAMPLE_RATE,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mel_frames = features["attention_mask"].sum(-1)
        _, num_tokens = self._model.model.audio_tower._get_feat_extract_output_lengths(mel_frames)
        prompt = (
            f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\n<|audio_bos|>"
            f"{'<|AUDIO|>' * int(num_tokens.sum())}<|audio_eos|>{user_text}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        return {
            **self._processor.tokenizer(prompt, return_tensors="pt"),
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }
