"""A tiny random Voxtral in the layout of its hub repositories, and its own forward as oracle."""

import base64
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import (
    GenerationConfig,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.helpers.own_forward import OwnForwardOracle, windows_of_30_seconds
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

# the ids of these tokens are those of the published tokenizer, which has 1,000 control tokens
CONTROL_TOKENS = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 11: "<pad>", 24: "[AUDIO]"} | {
    25: "[BEGIN_AUDIO]",
    34: "[TRANSCRIBE]",
}
NUM_CONTROL_TOKENS = 40
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def save_tiny_voxtral(folder: Path) -> str:
    """Weights in shards under the published names, tekken.json, no other tokenizer and no chat template."""
    vocabulary = _byte_pairs()
    config = VoxtralConfig(
        audio_token_id=24,
        audio_config={
            "num_mel_bins": 80,
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 24,
            "vocab_size": NUM_CONTROL_TOKENS + len(vocabulary),
            "max_position_embeddings": 4096,
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = VoxtralForConditionalGeneration(config)
        spread_weights(model)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=11)
    model.save_pretrained(folder, max_shard_size="200KB")
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    (folder / "tekken.json").write_text(json.dumps(_tekken(vocabulary)))
    return str(folder)


def _byte_pairs() -> list[bytes]:
    """All bytes, and pairs of pairs of them in the order in which they are merged."""
    bytes_of = {character: byte for byte, character in bytes_to_unicode().items()}
    learned = byte_level_tokenizer([]).get_vocab()
    pairs = [token for token in sorted(learned, key=learned.__getitem__) if len(token) > 1]
    return [bytes([byte]) for byte in range(256)] + [bytes(bytes_of[c] for c in token) for token in pairs]


def _tekken(vocabulary: list[bytes]) -> dict:
    names = [CONTROL_TOKENS.get(rank, f"<SPECIAL_{rank}>") for rank in range(NUM_CONTROL_TOKENS)]
    return {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(vocabulary),
            "default_vocab_size": NUM_CONTROL_TOKENS + len(vocabulary),
            "default_num_special_tokens": NUM_CONTROL_TOKENS,
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(vocabulary)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)
        ],
    }


class VoxtralOracle(OwnForwardOracle):
    """The processor's features of every window, 375 placeholders each; tekken.json read by a plain loop."""

    def __init__(self, model) -> None:
        super().__init__(model)
        tekken = json.loads((Path(model.name) / "tekken.json").read_text())
        self._split = pre_tokenizers.Split(Regex(tekken["config"]["pattern"]), "isolated")
        self._ranks = {base64.b64decode(token["token_bytes"]): token["rank"] for token in tekken["vocab"]}

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        windows = windows_of_30_seconds(samples)
        features = self._processor._retrieve_input_features(windows, **VoxtralProcessor.audio_kwargs)
        words = [id_ for piece, _ in self._split.pre_tokenize_str(user_text) for id_ in self._merge(piece)]
        ids = [1, 3, 25, *[24] * 375 * len(windows), *words, 4]
        return {"input_ids": torch.tensor([ids]), "input_features": features}

    def _merge(self, piece: str) -> list[int]:
        """Merge the two neighbours of the lowest rank, again and again."""
        parts = [bytes([byte]) for byte in piece.encode()]
        while pairs := [i for i in range(len(parts) - 1) if parts[i] + parts[i + 1] in self._ranks]:
            i = min(pairs, key=lambda i: self._ranks[parts[i] + parts[i + 1]])
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [NUM_CONTROL_TOKENS + self._ranks[part] for part in parts]
