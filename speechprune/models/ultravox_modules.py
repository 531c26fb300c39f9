"""Weights of Ultravox's own repository."""

from __future__ import annotations

import copy

import torch
from torch.nn.functional import pad, silu
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechprune.models.ultravox_config import UltravoxConfig


class UltravoxProjector(torch.nn.Module):
    """Positions to states, and ``linear_2`` from states to audio embeddings."""

    def __init__(self, config: UltravoxConfig) -> None:
        super().__init__()
        self.stack_factor = config.stack_factor
        stacked_size, states_size = (
            config.stack_factor * config.audio_config.d_model,
            config.projector_size // 2,
        )
        self.ln_pre = LlamaRMSNorm(stacked_size, eps=1e-6)
        self.linear_1 = torch.nn.Linear(stacked_size, config.projector_size, bias=False)
        self.ln_mid = LlamaRMSNorm(states_size, eps=1e-6)
        self.linear_2 = torch.nn.Linear(states_size, config.text_config.hidden_size, bias=False)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Stack positions to tokens, the last filled up with zeros, and make their states."""
        windows, length, _ = positions.shape
        filled = pad(positions, (0, 0, 0, -length % self.stack_factor))
        stacked = filled.reshape(windows, -1, self.ln_pre.weight.numel())
        values, gates = self.linear_1(self.ln_pre(stacked)).chunk(2, dim=-1)
        states: torch.Tensor = self.ln_mid(silu(gates) * values)
        return states


class UltravoxWeights(PreTrainedModel):
    """The projector, and the encoder where ``has_encoder``."""

    config_class = UltravoxConfig
    _supports_sdpa = True

    def __init__(self, config: UltravoxConfig) -> None:
        super().__init__(config)
        self.multi_modal_projector = UltravoxProjector(config)
        if config.has_encoder:
            whisper = copy.copy(config.audio_config)
            whisper._attn_implementation = config._attn_implementation
            self.audio_tower = WhisperEncoder(whisper)
        self.post_init()
