"""Weights of DiVA's own repository, and of the part of Whisper's that it uses."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from transformers import PreTrainedModel, WhisperConfig, WhisperPreTrainedModel
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder
from transformers.pytorch_utils import Conv1D

from speechprune.models.diva_config import DivaConfig


class DivaConnector(PreTrainedModel):
    """Learned queries, a Whisper decoder that turns them into states, and the projector.

    Its weights have their names and shapes in the published checkpoint, the projector's lies transposed.
    """

    config_class = DivaConfig
    _supports_sdpa = True

    def __init__(self, config: DivaConfig) -> None:
        super().__init__(config)
        whisper = copy.copy(config.whisper)
        whisper._attn_implementation = config._attn_implementation
        self.query_tokens = torch.nn.Parameter(torch.randn(whisper.max_target_positions, whisper.d_model))
        self.connector = WhisperDecoder(whisper)
        self.projection = Conv1D(config.llama.hidden_size, whisper.d_model)
        self.post_init()


class EncoderOfWhisper(WhisperPreTrainedModel):
    """A Whisper without decoder and head."""

    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = ["decoder", "proj_out"]

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.post_init()
