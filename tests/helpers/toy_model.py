"""A second model family, as unlike Qwen2-Audio as the contract allows: the example of a family of your own.

Windows of 40 s, 12.5 audio tokens a second, an MLP projector without bias in its last layer, grouped queries,
and a chat template that puts the text before the audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import DecoderShape, ModelShape
from speechprune.models.base import EncodedWindows, LanguageModel, SpeechModel, Window
from speechprune.models.source import ModelSource, end_token_ids
from speechprune.pruning import FirstLayerProjections

WINDOW_SECONDS = 40
TOKEN_SAMPLES = 1_280  # 80 ms: 12.5 tokens a second
WINDOW_TOKENS = WINDOW_SECONDS * SAMPLE_RATE // TOKEN_SAMPLES
KERNEL = 3
AUDIO = "<|AUDIO|>"


class ToyConfig(PreTrainedConfig):
    """Sizes of the toy's encoder and projector, and the config of its language model."""

    model_type = "toy_speech"

    def __init__(
        self,
        encoder_size: int = 24,
        states_size: int = 40,
        audio_token_id: int = 0,
        text_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.encoder_size = encoder_size
        self.states_size = states_size
        self.audio_token_id = audio_token_id
        self.text_config = LlamaConfig(**(text_config or {}))
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"text_config": self.text_config.to_dict()}


class ToyForAnswering(PreTrainedModel):
    """The toy's weights."""

    config_class = ToyConfig
    _supports_sdpa = True

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.embed_samples = nn.Linear(TOKEN_SAMPLES, config.encoder_size)
        self.mix = nn.Conv1d(config.encoder_size, config.encoder_size, KERNEL, padding=1)
        self.up = nn.Linear(config.encoder_size, config.states_size)
        self.down = nn.Linear(config.states_size, config.text_config.hidden_size, bias=False)
        config.text_config._attn_implementation = config._attn_implementation
        self.language_model = LlamaForCausalLM(config.text_config)
        self.post_init()

    def states(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples, ``(windows, tokens * TOKEN_SAMPLES)`` in [-1, 1], to the states before the last layer."""
        pieces = samples.unflatten(1, (-1, TOKEN_SAMPLES))
        heard = (pieces.abs().amax(dim=-1, keepdim=True) > 0).to(samples.dtype)
        x = torch.tanh(self.embed_samples(pieces)) * heard  # silence, padding too, is zero
        x = torch.tanh(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return nn.functional.gelu(self.up(x))


@dataclass(frozen=True, kw_only=True)
class ToyEncoderShape:
    """The cost of the toy's encoder in closed form."""

    encoder_size: int
    states_size: int
    hidden_size: int
    window_seconds: float = WINDOW_SECONDS
    window_tokens: int = WINDOW_TOKENS

    def flops(self, num_windows: int) -> int:
        """Per token: samples to e, a convolution of 3, e to the states."""
        e, d = self.encoder_size, self.states_size
        return num_windows * WINDOW_TOKENS * 2 * (TOKEN_SAMPLES * e + KERNEL * e * e + e * d)

    def project_flops(self, num_windows: int) -> int:
        """Per token: states to h."""
        return num_windows * WINDOW_TOKENS * 2 * self.states_size * self.hidden_size


class ToyModel(SpeechModel):
    """The toy behind the contract of ``SpeechModel``."""

    model_types: ClassVar[tuple[str, ...]] = ("toy_speech",)
    min_window_samples: ClassVar[int] = 1
    full_window_samples: ClassVar[int] = WINDOW_SECONDS * SAMPLE_RATE

    def __init__(self, model: ToyForAnswering, tokenizer: Any, **batches: Any) -> None:
        self.model = model
        text = model.language_model
        shape = self.shape_of(model.config)
        attention = text.model.layers[0].self_attn
        super().__init__(
            shape=shape,
            language_model=LanguageModel(
                tokenizer=tokenizer,
                decoder=text.model,
                head=text.lm_head,
                embedding=text.get_input_embeddings(),
                projections=FirstLayerProjections(
                    attention.q_proj.weight,
                    attention.k_proj.weight,
                    shape.decoder.num_attention_heads,
                    shape.decoder.num_key_value_heads,
                ),
                audio_token_id=model.config.audio_token_id,
                end_token_ids=end_token_ids(text.generation_config, tokenizer),
                max_prompt_tokens=model.config.text_config.max_position_embeddings,
            ),
            **batches,
        )

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> ToyConfig:
        return ToyConfig.from_dict(values)

    @classmethod
    def shape_of(cls, config: ToyConfig) -> ModelShape:
        text = config.text_config
        decoder = DecoderShape(
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_hidden_layers=text.num_hidden_layers,
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            vocab_size=text.vocab_size,
        )
        encoder = ToyEncoderShape(
            encoder_size=config.encoder_size, states_size=config.states_size, hidden_size=text.hidden_size
        )
        return ModelShape(decoder=decoder, encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        tokenizer = AutoTokenizer.from_pretrained(**source.location)
        return cls(source.load_weights(ToyForAnswering), tokenizer, **source.batches)

    def render_chat(self, user_text: str) -> str:
        return f"<|im_start|>user\n{user_text} {AUDIO}<|im_end|>\n<|im_start|>assistant\n"

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        padded = np.zeros((len(windows), self.window_samples), np.float32)
        for row, window in zip(padded, windows, strict=True):
            row[: len(window.samples)] = window.samples / np.float32(32768)
        states = self.model.states(torch.from_numpy(padded).to(self.device, self.dtype))
        return EncodedWindows(states, [_times(window) for window in windows])

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.model.down.weight, None


def _times(window: Window) -> np.ndarray:
    num_tokens = -(-len(window.samples) // TOKEN_SAMPLES)
    starts = window.start_seconds + np.arange(num_tokens) * (TOKEN_SAMPLES / SAMPLE_RATE)
    return np.stack([starts, starts + TOKEN_SAMPLES / SAMPLE_RATE], axis=1)
