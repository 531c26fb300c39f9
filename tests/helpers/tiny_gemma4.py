"""A tiny Gemma 4 in the layout of its hub repository, and its own forward as oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import (
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.own_forward import OwnForwardOracle, windows_of_30_seconds
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

CONTROL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>"]
# behind the words, as in the published vocabulary
PLACEHOLDERS = ["<|image|>", "<|audio|>", "<|video|>"]
MARKS = ["<|image>", "<image|>", "<|audio>", "<audio|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn>{{ message['role'] }}\n"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] | trim }}"
    "{% elif item['type'] == 'audio' %}<|audio|>{% endif %}"
    "{% endfor %}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)
MEL_BINS = 16


def save_tiny_gemma4(folder: Path) -> str:
    """Weights in shards, vision encoder and unused keys included; one file for all parts of the processor."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(CONTROL_TOKENS),
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=CONTROL_TOKENS[4:],
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [*CONTROL_TOKENS[4:], *MARKS, *PLACEHOLDERS]})
    config = Gemma4Config(**_config(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Gemma4ForConditionalGeneration(config)
        spread_weights(model)
        unused = torch.randn(config.text_config.per_layer_config[2].head_dim, config.text_config.hidden_size)
    with torch.no_grad():  # so that no answer holds one: the own forward takes it for a file
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(PLACEHOLDERS)] = 0.0
    model.generation_config = GenerationConfig(bos_token_id=2, eos_token_id=[1, 5], pad_token_id=0)
    weights = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    weights |= {
        f"model.language_model.layers.2.self_attn.{name}_proj.weight": unused.clone() for name in "kv"
    }
    model.save_pretrained(folder, state_dict=weights, max_shard_size="200KB")
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    processor = {
        "processor_class": "Gemma4Processor",
        "feature_extractor": json.loads(Gemma4AudioFeatureExtractor(feature_size=MEL_BINS).to_json_string()),
        "image_processor": {"image_processor_type": "Gemma4ImageProcessor"},
        "video_processor": {"video_processor_type": "Gemma4VideoProcessor"},
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return str(folder)


def _config(tokenizer: PreTrainedTokenizerFast) -> dict:
    id_of = tokenizer.convert_tokens_to_ids
    return {
        "audio_token_id": id_of("<|audio|>"),
        "image_token_id": id_of("<|image|>"),
        "video_token_id": id_of("<|video|>"),
        "boi_token_id": id_of("<|image>"),
        "eoi_token_id": id_of("<image|>"),
        "boa_token_id": id_of("<|audio>"),
        "eoa_token_index": id_of("<audio|>"),
        "audio_config": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "subsampling_conv_channels": [MEL_BINS, 4],
            "output_proj_dims": 48,
        },
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "position_embedding_size": 8,
        },
        "text_config": {
            "vocab_size": len(tokenizer),
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size": 64,
            "hidden_size_per_layer_input": 8,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "global_head_dim": 32,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            "num_kv_shared_layers": 1,
            "use_double_wide_mlp": True,
            "final_logit_softcapping": 30.0,
            "max_position_embeddings": 4096,
        },
    }


class Gemma4Oracle(OwnForwardOracle):
    """Features of the windows of a recording as rows of one batch, and the own forward of token ids."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self._extractor = Gemma4AudioFeatureExtractor(feature_size=MEL_BINS)

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        features = self._extractor(
            windows_of_30_seconds(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt"
        )
        num_tokens = int(features["input_features_mask"][:, ::2][:, ::2].sum())
        prompt = (
            f"<bos><|turn>user\n{user_text}<|audio>{'<|audio|>' * num_tokens}<audio|><turn|>\n<|turn>model\n"
        )
        ids = self._processor.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        return {**ids, **features}
