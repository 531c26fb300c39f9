"""Qwen2-Audio: a Whisper-large-v3 encoder, a linear projector, Qwen2 7B.

Everything that knows Hugging Face's internals of this family is in this file; the modules themselves run
unpatched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE
from speechprune.cost import ModelShape, WhisperEncoderShape
from speechprune.models.base import EncodedWindows, SpeechModel, Window
from speechprune.models.cuda_graphs import GraphedCall
from speechprune.models.log_mel import LogMel
from speechprune.models.source import ModelSource
from speechprune.models.staging import staging_zeros
from speechprune.models.text_model import composite_language_model, decoder_shape

WINDOW_SECONDS = 30
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
TOKENS_PER_SECOND = 25  # two mel frames of 10 ms a position, two positions a token


def num_positions(num_samples: int) -> int:
    """Count the encoder's positions of a window: mel frames halved by a convolution."""
    num_mel_frames = -(-num_samples // MEL_HOP_SAMPLES)
    return (num_mel_frames - 1) // 2 + 1


def num_audio_tokens(num_samples: int) -> int:
    """Count the audio tokens of a window: positions halved by pooling."""
    return max(0, (num_positions(num_samples) - 2) // 2 + 1)


class Qwen2Audio(SpeechModel):
    """Qwen2-Audio behind the contract of ``SpeechModel``.

    - ``model``: a loaded ``Qwen2AudioForConditionalGeneration`` in eval mode.
    - ``processor``: its ``Qwen2AudioProcessor``.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_audio",)
    min_window_samples: ClassVar[int] = 2 * MEL_HOP_SAMPLES + 1  # the third mel frame starts
    full_window_samples: ClassVar[int] = 2998 * MEL_HOP_SAMPLES + 1  # 2,999 mel frames: 1,500 positions

    def __init__(
        self, model: Any, processor: Any, *, name: str, encoder_batch_size: int, prefill_batch_tokens: int
    ) -> None:
        self.model = model
        self.processor = processor
        self._encode_full_batch: Callable[[torch.Tensor], torch.Tensor] = self._encode_unmasked
        self._log_mel = LogMel(processor.feature_extractor, model.model.audio_tower.device)
        shape = self.shape_of(model.config)
        super().__init__(
            name=name,
            shape=shape,
            language_model=composite_language_model(model, processor.tokenizer, shape.decoder),
            encoder_batch_size=encoder_batch_size,
            prefill_batch_tokens=prefill_batch_tokens,
        )

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from config.json."""
        text, audio = config.text_config, config.audio_config
        encoder = WhisperEncoderShape(
            hidden_size=audio.d_model,
            num_layers=audio.encoder_layers,
            ffn_size=audio.encoder_ffn_dim,
            num_mel_bins=audio.num_mel_bins,
            num_positions=audio.max_source_positions,
            projected_size=text.hidden_size,
        )
        return ModelShape(decoder=decoder_shape(text), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository."""
        from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

        processor = AutoProcessor.from_pretrained(**source.location)
        model = source.load_weights(Qwen2AudioForConditionalGeneration)
        return cls(model, processor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the processor's chat template: the audio, then the user's words."""
        content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": user_text}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of at most 30 s, 25 tokens a second.

        Full windows and short ones use different attention kernels: only where a batch holds one kind, a
        window's states don't depend on the others.
        """
        tower = self.model.model.audio_tower
        features = self._log_mel([window.samples for window in windows])
        mask = encoder_mask(tower, [num_positions(len(window.samples)) for window in windows])
        if mask is None and len(windows) == self.encoder_batch_size:
            states = self._encode_full_batch(features)
        else:
            states = tower(features, attention_mask=mask).last_hidden_state
        return EncodedWindows(states, [token_times(window) for window in windows])

    @torch.inference_mode()
    def project(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the linear projector."""
        projector = self.model.model.multi_modal_projector
        like = projector.linear.weight
        embeds: torch.Tensor = projector(states.to(like.device, like.dtype))
        return embeds.to(self.device)

    def _encode_unmasked(self, features: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.model.model.audio_tower(features, attention_mask=None).last_hidden_state
        return states

    @torch.inference_mode()
    def graph_encoder(self) -> bool:
        """Replay full batches from a CUDA graph: compiled layers run faster than the host launches them."""
        features = self._log_mel([np.zeros(WINDOW_SAMPLES, np.int16)] * self.encoder_batch_size)
        self._encode_full_batch = GraphedCall(self._encode_unmasked, features)
        return True

    @property
    def layers(self) -> list[torch.nn.Module]:
        """Those of the encoder and of the decoder."""
        return [*self.model.model.audio_tower.layers, *super().layers]

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P and b of the linear projector."""
        linear = self.model.model.multi_modal_projector.linear
        return linear.weight, linear.bias


def encoder_mask(tower: Any, lengths: Sequence[int]) -> torch.Tensor | None:
    """Hide the positions behind the end of each window, as Hugging Face's own forward does.

    - ``tower``: the encoder.
    - ``lengths``: positions of each window; where all are full there is nothing to hide: None.
    """
    from transformers.masking_utils import create_bidirectional_mask

    if min(lengths) >= tower.config.max_source_positions:
        return None
    valid = staging_zeros((len(lengths), tower.config.max_source_positions), torch.bool, tower.device)
    for row, length in zip(valid.numpy(), lengths, strict=True):
        row[:length] = True
    return create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=torch.zeros(*valid.shape, 1, dtype=tower.dtype, device=tower.device),
        attention_mask=valid.to(tower.device, non_blocking=True),
        allow_is_bidirectional_skip=False,  # asking whether all are valid would wait for the device
    )


def token_times(window: Window) -> np.ndarray:
    """Start and end of a window's tokens in seconds of the recording, ``(tokens, 2)``."""
    num_tokens = num_audio_tokens(len(window.samples))
    starts = window.start_seconds + np.arange(num_tokens) / TOKENS_PER_SECOND
    return np.stack([starts, starts + 1 / TOKENS_PER_SECOND], axis=1)
