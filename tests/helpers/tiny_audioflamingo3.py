"""A tiny random Audio Flamingo 3 in the layout of its hub repository, and its own forward as oracle."""

from pathlib import Path

import numpy as np
import torch
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
)

from tests.helpers.own_forward import OwnForwardOracle
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>"]
# as published: ChatML, the sound at the beginning of its turn
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] if part['type'] == 'audio' %}<sound>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_audioflamingo3(folder: Path) -> str:
    """Weights in shards under the published names, tokenizer, processor and chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(CONTROL_TOKENS),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=CONTROL_TOKENS,
    )
    config = AudioFlamingo3Config(
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
        audio_config={
            "num_mel_bins": 80,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = AudioFlamingo3ForConditionalGeneration(config)
        spread_weights(model)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in CONTROL_TOKENS}
    model.generation_config = GenerationConfig(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"]
    )
    model.save_pretrained(folder, max_shard_size="200KB")
    extractor = WhisperFeatureExtractor(feature_size=80, return_attention_mask=True)
    AudioFlamingo3Processor(extractor, tokenizer, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    return str(folder)


class AudioFlamingo3Oracle(OwnForwardOracle):
    """Its own processor, which cuts windows and expands the placeholder by itself."""

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        content = [{"type": "text", "text": user_text}, {"type": "audio", "path": ""}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return dict(self._processor(text=prompt, audio=(samples / 32768).astype(np.float32)))
