"""Qwen3-Omni: its thinker, with an encoder of chunks of a second and a decoder with a mixture of experts."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE
from speechprune.cost import ChunkedEncoderShape, ExpertsDecoderShape, ModelShape
from speechprune.models.base import Window
from speechprune.models.qwen2_5_omni import Qwen25Omni
from speechprune.models.text_model import decoder_shape
from speechprune.models.whisper_family import num_mel_frames

WINDOW_SAMPLES = 32 * SAMPLE_RATE
CHUNK_MEL_FRAMES, CHUNK_TOKENS = 100, 13
TOKEN_SECONDS = 0.08  # eight mel frames; the last token of a chunk has four


class Qwen3Omni(Qwen25Omni):
    """The thinker of Qwen3-Omni behind the contract of ``SpeechModel``.

    Its encoder takes any length; windows of 32 s are four blocks of its attention.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen3_omni_moe", "qwen3_omni_moe_thinker")
    thinker_class: ClassVar[str] = "Qwen3OmniMoeThinkerForConditionalGeneration"
    last_layer_name: ClassVar[str] = "proj2"
    system_prompt: ClassVar[str | None] = None
    # convolutions see the padding behind a window shorter than a chunk
    short_windows_share_batches: ClassVar[bool] = False
    min_window_samples: ClassVar[int] = 1
    full_window_samples: ClassVar[int] = WINDOW_SAMPLES - MEL_HOP_SAMPLES + 1  # the last mel frame starts

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from the thinker's config."""
        text, audio = config.text_config, config.audio_config
        sizes = dataclasses.asdict(decoder_shape(text))
        sizes["intermediate_size"] = text.num_experts_per_tok * text.moe_intermediate_size
        decoder = ExpertsDecoderShape(
            **sizes, num_experts=text.num_experts, num_experts_per_token=text.num_experts_per_tok
        )
        encoder = ChunkedEncoderShape(
            hidden_size=audio.d_model,
            num_layers=audio.encoder_layers,
            ffn_size=audio.encoder_ffn_dim,
            num_mel_bins=audio.num_mel_bins,
            num_channels=audio.downsample_hidden_size,
            projected_size=text.hidden_size,
            block_chunks=audio.n_window_infer // CHUNK_MEL_FRAMES,
        )
        return ModelShape(decoder=decoder, encoder=encoder)

    @staticmethod
    def num_tokens(num_samples: int) -> int:
        """Count the audio tokens of a window: 13 a chunk, the mel frames of the last halved three times."""
        num_chunks, rest = divmod(num_mel_frames(num_samples), CHUNK_MEL_FRAMES)
        return num_chunks * CHUNK_TOKENS + -(-rest // 8)

    def token_times(self, window: Window) -> np.ndarray:
        """Start and end of a window's tokens in seconds of the recording, ``(tokens, 2)``."""
        chunks, places = np.divmod(np.arange(self.num_tokens(len(window.samples))), CHUNK_TOKENS)
        starts = chunks + places * TOKEN_SECONDS
        ends = np.minimum(starts + TOKEN_SECONDS, np.minimum(chunks + 1, len(window.samples) / SAMPLE_RATE))
        return window.start_seconds + np.stack([starts, ends], axis=1)
