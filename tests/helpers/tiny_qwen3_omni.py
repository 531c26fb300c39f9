"""A tiny Qwen3-Omni, in the layout of its hub repository, and its own forward as oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import _get_feat_extract_output_lengths

from speechprune.audio import SAMPLE_RATE
from tests.helpers.own_forward import OwnForwardOracle
from tests.helpers.tiny_models import spread_weights
from tests.helpers.tiny_qwen2_5_omni import CHAT_TEMPLATE, omni_tokenizer, save_as_published

RENAMED = {"AUDIO": "audio_pad", "audio_bos": "audio_start", "audio_eos": "audio_end"}
SPECIAL_TOKENS = [f"<|{name}|>" for name in ("endoftext", "im_start", "im_end", *RENAMED.values())]
SPECIAL_TOKENS += ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>"]
EXPERTS = 4


def save_tiny_qwen3_omni(folder: Path) -> str:
    """A whole model as it is published: thinker and talker in two shards, each expert by itself."""
    tokenizer = omni_tokenizer(SPECIAL_TOKENS)
    config = Qwen3OmniMoeThinkerConfig(**_thinker_config(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        thinker = Qwen3OmniMoeThinkerForConditionalGeneration(config)
        spread_weights(thinker, std=0.25)
        torch.nn.init.normal_(thinker.model.audio_tower.conv2d1.bias)
    whole = {"model_type": "qwen3_omni_moe", "thinker_config": config.to_dict(), "talker_config": {}}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(whole))
    template = CHAT_TEMPLATE
    for name, own in RENAMED.items():
        template = template.replace(f"<|{name}|>", f"<|{own}|>")
    talker = {"talker.codec_head.weight": torch.zeros(4, 4), "code2wav.decoder.x": torch.zeros(4)}
    save_as_published(folder, tokenizer, template, [_split_experts(thinker.state_dict()), talker])
    return str(folder)


def _split_experts(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    split = {}
    for name, weight in weights.items():
        home, _, kind = name.rpartition("mlp.experts.")
        for number in range(EXPERTS if home else 0):
            own = f"{home}mlp.experts.{number}."
            if kind == "down_proj":
                split[f"{own}down_proj.weight"] = weight[number].clone()
            else:
                gate, up = weight[number].chunk(2)
                split |= {f"{own}gate_proj.weight": gate.clone(), f"{own}up_proj.weight": up.clone()}
        if not home:
            split[name] = weight
    return split


def _thinker_config(tokenizer: PreTrainedTokenizerFast) -> dict:
    id_of = tokenizer.convert_tokens_to_ids
    return {
        "audio_token_id": id_of("<|audio_pad|>"),
        "image_token_id": id_of("<|image_pad|>"),
        "video_token_id": id_of("<|video_pad|>"),
        "audio_start_token_id": id_of("<|audio_start|>"),
        "vision_start_token_id": id_of("<|vision_start|>"),
        "audio_config": {
            "num_mel_bins": 80,
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "downsample_hidden_size": 8,
            "output_dim": 64,
        },
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": 64,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        "text_config": {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "moe_intermediate_size": 32,
            "num_experts": EXPERTS,
            "num_experts_per_tok": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]},
        },
    }


class Qwen3OmniOracle(OwnForwardOracle):
    """Features of every 32 s window at its own length, the thinker's own forward."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self._extractor = WhisperFeatureExtractor.from_pretrained(model.name)

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        size = 32 * SAMPLE_RATE
        features = self._extractor(
            [(samples[i : i + size] / 32768).astype(np.float32) for i in range(0, len(samples), size)],
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=size,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mel_frames = features["attention_mask"].sum(-1)
        num_tokens = int(_get_feat_extract_output_lengths(mel_frames).sum())
        prompt = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|audio_start|>"
            f"{'<|audio_pad|>' * num_tokens}<|audio_end|>{user_text}<|im_end|>\n<|im_start|>assistant\n"
        )
        return {
            **self._processor.tokenizer(prompt, return_tensors="pt"),
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }
