"""Kits of the conformance suite: for each family a tiny checkpoint, and its own implementation as oracle.

An oracle uses nothing of ours but the decoded samples, cut into the family's windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from speechprune.audio import SAMPLE_RATE
from tests.helpers.own_forward import OwnForwardOracle, windows_of_30_seconds
from tests.helpers.tiny_audioflamingo3 import AudioFlamingo3Oracle, save_tiny_audioflamingo3
from tests.helpers.tiny_cascade import CascadeOracle, save_tiny_cascade
from tests.helpers.tiny_ctc_cascade import CtcCascadeOracle, save_tiny_ctc_cascade
from tests.helpers.tiny_diva import DivaOracle, save_tiny_diva
from tests.helpers.tiny_gemma4 import Gemma4Oracle, save_tiny_gemma4
from tests.helpers.tiny_granite_speech import MEL_BINS, GraniteSpeechOracle, save_tiny_granite_speech
from tests.helpers.tiny_models import byte_level_processor, save_tiny_model, spread_weights
from tests.helpers.tiny_phi4_multimodal import Phi4Oracle, save_tiny_phi4
from tests.helpers.tiny_qwen2_5_omni import Qwen25OmniOracle, save_tiny_omni
from tests.helpers.tiny_qwen3_omni import Qwen3OmniOracle, save_tiny_qwen3_omni
from tests.helpers.tiny_ultravox import UltravoxOracle, save_tiny_ultravox
from tests.helpers.tiny_voxtral import VoxtralOracle, save_tiny_voxtral
from tests.helpers.toy_model import AUDIO, TOKEN_SAMPLES, ToyConfig, ToyForAnswering, ToyModel


class Oracle(Protocol):
    """What a family does by itself with a recording and the user's words."""

    def prompt_ids(self, samples: np.ndarray, user_text: str) -> list[int]:
        """Token ids of the whole prompt, one placeholder per audio token."""
        ...

    def logits(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        """Logits of the next token, by the family's own forward."""
        ...

    def generate(self, samples: np.ndarray, user_text: str, max_new_tokens: int) -> list[int]:
        """Greedy tokens, by the family's own generate."""
        ...

    def log_probabilities(self, samples: np.ndarray, user_text: str, answer_ids: list[int]) -> torch.Tensor:
        """Log probabilities of an answer's tokens, by the family's own forward."""
        ...


@dataclass(frozen=True)
class Kit:
    """What the suite needs of a family.

    Parameters
    ----------
    save
        Writes a tiny checkpoint into a folder.
    oracle
        Makes the oracle of a loaded model.
    family
        For ``model.family``; None where ``MODELS`` has it.
    feature_flops
        FLOPs of a window's features, such as the product with the mel filters, which no account counts.
    generates_from_ids
        Whether its own generate takes token ids alone, no embeddings.
    """

    save: Callable[[Path], str]
    oracle: Callable[[Any], Oracle]
    family: str | None = None
    feature_flops: int = 0
    generates_from_ids: bool = False


class Qwen2AudioOracle(OwnForwardOracle):
    """The processor's features of every 30 s window, one span of placeholders, Hugging Face's own forward."""

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
        features = self._processor.feature_extractor(
            windows_of_30_seconds(samples),
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        mel_frames = features["attention_mask"].sum(-1)
        _, num_tokens = self._model.model.audio_tower._get_feat_extract_output_lengths(mel_frames)
        content = [{"type": "audio", "audio_url": ""}, {"type": "text", "text": user_text}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        expanded = prompt.replace("<|AUDIO|>", "<|AUDIO|>" * int(num_tokens.sum()))
        return {
            **self._processor.tokenizer(expanded, return_tensors="pt"),
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }


class ToyOracle:
    """A plain re-reading of the toy: window by window, the whole prompt anew for every token."""

    def __init__(self, model: ToyModel) -> None:
        self._model, self._tokenizer = model.model, model.tokenizer

    def _audio(self, samples: np.ndarray) -> torch.Tensor:
        parts = []
        for start in range(0, len(samples), 40 * SAMPLE_RATE):
            window = samples[start : start + 40 * SAMPLE_RATE]
            num_tokens = -(-len(window) // TOKEN_SAMPLES)
            padded = np.zeros((num_tokens + 1) * TOKEN_SAMPLES, np.float32)
            padded[: len(window)] = window / 32768
            parts.append(self._model.down(self._model.states(torch.from_numpy(padded)[None]))[0, :num_tokens])
        return torch.cat(parts)

    def prompt_ids(self, samples: np.ndarray, user_text: str) -> list[int]:
        placeholders = AUDIO * len(self._audio(samples))
        chat = f"<|im_start|>user\n{user_text} {placeholders}<|im_end|>\n<|im_start|>assistant\n"
        return self._tokenizer(chat, add_special_tokens=False)["input_ids"]

    @torch.inference_mode()
    def _continue(self, samples: np.ndarray, ids: list[int], made: list[int]) -> torch.Tensor:
        embeds = self._model.language_model.get_input_embeddings()(torch.tensor([[*ids, *made]]))
        # a placeholder that was generated stays what it is
        places = torch.tensor(ids) == self._model.config.audio_token_id
        embeds[0, : len(ids)][places] = self._audio(samples)
        return self._model.language_model(inputs_embeds=embeds).logits[0, -1]

    @torch.inference_mode()
    def logits(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        return self._continue(samples, self.prompt_ids(samples, user_text), [])

    @torch.inference_mode()
    def generate(self, samples: np.ndarray, user_text: str, max_new_tokens: int) -> list[int]:
        ids, made = self.prompt_ids(samples, user_text), []
        while len(made) < max_new_tokens:
            made.append(int(self._continue(samples, ids, made).argmax()))
            if made[-1] == self._tokenizer.eos_token_id:
                break
        return made

    def log_probabilities(self, samples: np.ndarray, user_text: str, answer_ids: list[int]) -> torch.Tensor:
        ids = self.prompt_ids(samples, user_text)
        logits = [self._continue(samples, ids, answer_ids[:place]) for place in range(len(answer_ids))]
        return torch.stack([row.log_softmax(0)[id_] for row, id_ in zip(logits, answer_ids, strict=True)])


def save_toy_model(folder: Path) -> str:
    """A tiny checkpoint of the toy, grouped queries and all."""
    tokenizer = byte_level_processor().tokenizer
    config = ToyConfig(
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO),
        text_config={
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 24,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = ToyForAnswering(config)
        spread_weights(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


LOG_MEL_FLOPS = 2 * 3000 * 201 * 80  # mel frames, frequencies, mel bins
KITS: dict[str, Kit] = {
    "audioflamingo3": Kit(save_tiny_audioflamingo3, AudioFlamingo3Oracle, feature_flops=LOG_MEL_FLOPS),
    "cascade": Kit(save_tiny_cascade, CascadeOracle, feature_flops=LOG_MEL_FLOPS),
    "ctc_cascade": Kit(save_tiny_ctc_cascade, CtcCascadeOracle, feature_flops=LOG_MEL_FLOPS),
    "diva": Kit(save_tiny_diva, DivaOracle, feature_flops=LOG_MEL_FLOPS),
    "gemma4": Kit(save_tiny_gemma4, Gemma4Oracle, generates_from_ids=True),
    "granite_speech": Kit(
        save_tiny_granite_speech, GraniteSpeechOracle, feature_flops=2 * 3601 * 257 * MEL_BINS
    ),
    "phi4_multimodal": Kit(save_tiny_phi4, Phi4Oracle, feature_flops=2 * 3998 * 257 * 80),
    "qwen2_5_omni": Kit(save_tiny_omni, Qwen25OmniOracle, feature_flops=LOG_MEL_FLOPS),
    "qwen2_audio": Kit(
        lambda folder: save_tiny_model(folder, num_key_value_heads=2),
        Qwen2AudioOracle,
        feature_flops=LOG_MEL_FLOPS,
    ),
    "qwen3_omni_moe": Kit(save_tiny_qwen3_omni, Qwen3OmniOracle, feature_flops=LOG_MEL_FLOPS * 32 // 30),
    "toy": Kit(save_toy_model, ToyOracle, family="tests.helpers.toy_model:ToyModel"),
    "ultravox": Kit(save_tiny_ultravox, UltravoxOracle, feature_flops=LOG_MEL_FLOPS),
    "voxtral": Kit(save_tiny_voxtral, VoxtralOracle, feature_flops=LOG_MEL_FLOPS),
}
