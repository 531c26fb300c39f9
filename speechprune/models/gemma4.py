"""Gemma 4 with an audio encoder (E2B, E4B): a conformer, a linear projector, inputs for every decoder layer.

The vision encoder is left out. The modules themselves run unpatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ConformerShape, ModelShape, UnevenDecoderShape
from speechprune.models.base import EncodedWindows, LanguageModel, SpeechModel, SplicedPrompt, Window
from speechprune.models.hub import ModelError
from speechprune.models.log_mel import MAX_INT16
from speechprune.models.source import ModelSource, end_token_ids
from speechprune.models.text_model import first_layer_projections, load_tokenizer

WINDOW_SAMPLES = 30 * SAMPLE_RATE
HOP_SAMPLES = 160  # a mel frame, whose 20 ms start half before its time
TOKEN_SECONDS = 0.04  # four mel frames


class Gemma4(SpeechModel):
    """Gemma 4 behind the contract of ``SpeechModel``: 25 tokens a second.

    - ``model``: loaded, in eval mode.
    - ``processor``: its tokenizer and feature extractor.
    """

    model_types: ClassVar[tuple[str, ...]] = ("gemma4",)
    min_window_samples: ClassVar[int] = HOP_SAMPLES + 1  # one mel frame is full
    full_window_samples: ClassVar[int] = WINDOW_SAMPLES - HOP_SAMPLES + 1  # all mel frames are

    def __init__(self, model: Any, processor: Any, *, name: str, **batches: Any) -> None:
        self.model = model
        self.processor = processor
        self._check_features(name)
        shape, text = self.shape_of(model.config), model.config.text_config
        decoder = model.model.language_model
        self._pad_token_id = text.pad_token_id
        ends = processor.tokenizer.convert_ids_to_tokens(
            [model.config.boa_token_id, model.config.eoa_token_index]
        )
        self._audio_token = processor.tokenizer.convert_ids_to_tokens(model.config.audio_token_id)
        self._audio_span = f"{ends[0]}{self._audio_token}{ends[1]}"
        cap = text.final_logit_softcapping
        language_model = LanguageModel(
            tokenizer=processor.tokenizer,
            decoder=decoder,
            head=model.lm_head if cap is None else SoftcappedHead(model.lm_head, cap),
            embedding=model.get_input_embeddings(),
            projections=first_layer_projections(decoder, shape.decoder),
            audio_token_id=model.config.audio_token_id,
            end_token_ids=end_token_ids(model.generation_config, processor.tokenizer),
            max_prompt_tokens=text.max_position_embeddings,
        )
        super().__init__(name=name, shape=shape, language_model=language_model, **batches)

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> PreTrainedConfig:
        """Parse config.json.

        Raises
        ------
        ModelError
            There is no audio encoder.
        """
        if not values.get("audio_config"):
            raise ModelError(
                f"model {values['_name_or_path']} is a Gemma 4 without an audio encoder: give one that "
                "has it, such as google/gemma-4-E2B-it or google/gemma-4-E4B-it"
            )
        return super().parse_config(values)

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from config.json."""
        text, audio = config.text_config, config.audio_config
        layers, reused = list(text.per_layer_config), text.num_kv_shared_layers
        own_keys = layers[: len(layers) - reused]
        intermediates = len(layers) + (reused if text.use_double_wide_mlp else 0)
        decoder = UnevenDecoderShape(
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_hidden_layers=text.num_hidden_layers,
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=layers[0].num_key_value_heads,
            head_dim=layers[0].head_dim,
            vocab_size=text.vocab_size,
            sum_of_queries=text.num_attention_heads * sum(layer.head_dim for layer in layers),
            sum_of_keys=sum(layer.num_key_value_heads * layer.head_dim for layer in own_keys),
            sum_of_intermediates=text.intermediate_size * intermediates,
            per_layer_size=text.hidden_size_per_layer_input,
        )
        before, behind = audio.attention_context_left - 1, audio.attention_context_right
        encoder = ConformerShape(
            hidden_size=audio.hidden_size,
            num_layers=audio.num_hidden_layers,
            num_mel_bins=audio.subsampling_conv_channels[0],
            num_channels_1=audio.subsampling_conv_channels[0],
            num_channels_2=audio.subsampling_conv_channels[1],
            kernel=audio.conv_kernel_size,
            block_positions=audio.attention_chunk_size,
            context_positions=audio.attention_chunk_size + before + behind,
            states_size=audio.output_proj_dims,
            projected_size=text.hidden_size,
            num_mel_frames=num_mel_frames(WINDOW_SAMPLES),
        )
        return ModelShape(decoder=decoder, encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository."""
        from transformers import AutoFeatureExtractor, Gemma4ForConditionalGeneration

        extractor = AutoFeatureExtractor.from_pretrained(**source.location)
        # in place of its own processor, which wants packages for images
        processor = SimpleNamespace(tokenizer=load_tokenizer(source), feature_extractor=extractor)
        model = source.load_weights(Gemma4ForConditionalGeneration, eager_parts=["audio_config"])
        del model.model.vision_tower, model.model.embed_vision  # no image comes
        return cls(model, processor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the chat template: the user's words, then the audio between its marks."""
        content = [{"type": "text", "text": user_text}, {"type": "audio", "audio": "recording"}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        before, mark, behind = rendered.rpartition(self._audio_token)
        return f"{before}{self._audio_span if mark else ''}{behind}"

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of at most 30 s; the end of a short one is masked and dropped."""
        tower = self.model.model.audio_tower
        features = self.processor.feature_extractor(
            [window.samples / np.float32(MAX_INT16) for window in windows],
            padding="max_length",
            max_length=WINDOW_SAMPLES,
            return_tensors="pt",
        )
        positions = tower(
            features["input_features"].to(tower.device, tower.dtype),
            features["input_features_mask"].to(tower.device),
        ).last_hidden_state
        states = self.model.model.embed_audio.embedding_pre_projection_norm(positions)
        return EncodedWindows(states, [token_times(window) for window in windows])

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P; there is no b."""
        return self.model.model.embed_audio.embedding_projection.weight, None

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The decoder's MLPs: whole layers hand on keys and values, and would need many variants."""
        return [layer.mlp for layer in self.language_model.decoder.layers]

    def prompt_inputs(
        self, prompts: Sequence[SplicedPrompt], padding_side: Literal["left", "right"]
    ) -> dict[str, torch.Tensor]:
        """Add what each layer takes of each token."""
        inputs = super().prompt_inputs(prompts, padding_side)
        rows = [torch.tensor(prompt.token_ids) for prompt in prompts]
        token_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side=padding_side)
        return inputs | self._per_layer_inputs(token_ids.to(self.device))

    def step_inputs(self, embeds: torch.Tensor, token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Add what each layer takes of each token."""
        return super().step_inputs(embeds, token_ids) | self._per_layer_inputs(token_ids)

    def _per_layer_inputs(self, token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Look up the layers' own embeddings; audio has that of padding."""
        audio = token_ids == self.language_model.audio_token_id
        words = token_ids.masked_fill(audio, self._pad_token_id)
        return {"per_layer_inputs": self.model.model.language_model.get_per_layer_inputs(words)}

    def _check_features(self, name: str) -> None:
        """Refuse a feature extractor of another model."""
        extractor, audio = self.processor.feature_extractor, self.model.config.audio_config
        given, num_bins = (extractor.feature_size, extractor.hop_length), audio.subsampling_conv_channels[0]
        if given != (num_bins, HOP_SAMPLES):
            raise ModelError(
                f"the feature extractor of model {name} gives {given[0]} mel bins every {given[1]} samples, "
                f"its encoder takes {num_bins} every {HOP_SAMPLES}: get both configurations again"
            )


class SoftcappedHead(torch.nn.Module):
    """An output layer whose logits stay inside a range: c · tanh(logits / c)."""

    def __init__(self, head: torch.nn.Module, cap: float) -> None:
        super().__init__()
        self.head, self.cap = head, cap

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Give the logits of states."""
        logits: torch.Tensor = self.cap * torch.tanh(self.head(states) / self.cap)
        return logits


def num_mel_frames(num_samples: int) -> int:
    """Count the mel frames of a window that are sound alone: the last sample of the last is inside."""
    return -(-num_samples // HOP_SAMPLES) - 1


def token_times(window: Window) -> np.ndarray:
    """Start and end of a window's tokens in seconds of the recording, ``(tokens, 2)``."""
    num_tokens = -(-num_mel_frames(len(window.samples)) // 4)
    starts = np.arange(num_tokens) * TOKEN_SECONDS
    ends = np.minimum(starts + TOKEN_SECONDS, len(window.samples) / SAMPLE_RATE)
    return window.start_seconds + np.stack([starts, ends], axis=1)
