"""Ultravox: a Whisper encoder, eight positions stacked to a token, a gated projector, Llama 3."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch.nn.functional import gelu
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE
from speechprune.cost import ModelShape, WhisperGatedMlpShape
from speechprune.models.base import Window
from speechprune.models.hub import ModelError
from speechprune.models.source import ModelSource
from speechprune.models.text_model import check_chat_template, decoder_shape
from speechprune.models.ultravox_config import UltravoxConfig, parse_ultravox
from speechprune.models.whisper_family import (
    WhisperFamily,
    encoder_mask,
    num_mel_frames,
    num_positions,
    up_to,
    whisper_sizes,
)

PLACEHOLDER = "<|audio|>"  # added to the tokenizer in memory; it has no embedding and needs none
POSITION_SECONDS = 0.02


class Ultravox(WhisperFamily):
    """Ultravox behind the contract of ``SpeechModel``: 6.25 tokens a second, 188 a window.

    A window is encoded as if the encoder were as short as its sound, which no silence fills up.
    """

    model_types: ClassVar[tuple[str, ...]] = ("ultravox",)
    min_window_samples: ClassVar[int] = 1
    full_window_samples: ClassVar[int] = 2999 * MEL_HOP_SAMPLES + 1  # all 3,000 mel frames have sound

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> UltravoxConfig:
        """Parse config.json and those of the models that it names."""
        return parse_ultravox(values)

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of all parts from their configs."""
        config = cast(UltravoxConfig, config)
        encoder = WhisperGatedMlpShape(
            **whisper_sizes(config),
            positions_per_token=config.stack_factor,
            projector_input_size=config.stack_factor * config.audio_config.d_model,
            gated_size=config.projector_size // 2,
        )
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=encoder)

    @classmethod
    def holds_all_weights(cls, config: PreTrainedConfig) -> bool:
        """Whether Llama is in a folder beside config.json, and Whisper, too, or nowhere else."""
        config = cast(UltravoxConfig, config)
        return all(part is None or part.subfolder for part in (config.text_part, config.audio_part))

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load the projector, the encoder from where it is, the tokenizer, and Llama."""
        from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, WhisperFeatureExtractor

        from speechprune.models.ultravox_modules import UltravoxWeights

        config = cast(UltravoxConfig, source.config)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(**source.location)
        check_chat_template(tokenizer, source.folder)
        tokenizer.add_special_tokens({"additional_special_tokens": [PLACEHOLDER]})
        config.audio_token_id = tokenizer.convert_tokens_to_ids(PLACEHOLDER)
        stored = set() if source.options.random_weights else source.weight_names()
        if any(name.startswith("audio_tower.") for name in stored):
            config.has_encoder = True  # tuned: it takes the place of the named one
        own = source.load_weights(UltravoxWeights)
        if surplus := sorted(stored - own.state_dict().keys()):
            raise ModelError(
                f"model {source.options.path} has weights of other parts, such as {surplus[0]}: give one "
                "whose adapters are merged and whose language model is unchanged"
            )
        llama = config.text_part.source_in(source).load_weights(LlamaForCausalLM)
        parts = SimpleNamespace(
            audio_tower=own.audio_tower if config.has_encoder else _load_encoder(config, source),
            multi_modal_projector=own.multi_modal_projector,
            language_model=llama.model,
        )
        model = SimpleNamespace(  # composed as a model of Hugging Face
            model=parts,
            language_model=llama,
            lm_head=llama.lm_head,
            get_input_embeddings=llama.get_input_embeddings,
            generation_config=llama.generation_config,
            config=config,
        )
        extractor = WhisperFeatureExtractor(feature_size=config.audio_config.num_mel_bins)
        processor = SimpleNamespace(tokenizer=tokenizer, feature_extractor=extractor)
        return cls(model, processor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the tokenizer's chat template: audio, then words, as in Ultravox's own evaluation."""
        content = f"{PLACEHOLDER} \n\n{user_text}"
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return cast(str, rendered)

    @torch.inference_mode()
    def encode_features(self, features: torch.Tensor, num_samples: Sequence[int]) -> torch.Tensor:
        """Encode up to the states: behind the projector's second norm."""
        tower = self.model.model.audio_tower
        mask = encoder_mask(tower, [num_positions(number) for number in num_samples])
        if min(num_samples) >= self.full_window_samples:
            sound = torch.ones_like(features[:, :1])
        else:
            frames = [num_mel_frames(number) for number in num_samples]
            sound = up_to(frames, features.shape[-1], features.device).to(features.dtype)[:, None]
        x = gelu(tower.conv1(features * sound)) * sound
        x = gelu(tower.conv2(x)).transpose(1, 2) + tower.embed_positions.weight
        for layer in tower.layers:
            x = layer(x, mask)
        positions = tower.layer_norm(x) * sound[:, 0, ::2, None]
        states: torch.Tensor = self.model.model.multi_modal_projector(positions)
        return states

    @property
    def last_layer(self) -> Any:
        """The projector's second layer."""
        return self.model.model.multi_modal_projector.linear_2

    def token_times(self, window: Window) -> np.ndarray:
        """Start and end of a window's tokens: 0.16 s each, the last to the end of the sound."""
        stack = self.model.config.stack_factor
        starts = np.arange(0, num_positions(len(window.samples)), stack) * POSITION_SECONDS
        ends = np.minimum(starts + stack * POSITION_SECONDS, len(window.samples) / SAMPLE_RATE)
        return window.start_seconds + np.stack([starts, ends], axis=1)


def _load_encoder(config: UltravoxConfig, source: ModelSource) -> Any:
    from speechprune.models.diva_modules import EncoderOfWhisper

    assert config.audio_part is not None
    return config.audio_part.source_in(source).load_weights(EncoderOfWhisper).encoder
