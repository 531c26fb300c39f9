"""Sizes of a Speech LLM that its cost depends on: a decoder, and an encoder of its family's own.

Symbols: h hidden size, I intermediate size, L layers, H query heads and G key-value heads of d each, V
vocabulary. Encoders are in ``encoders``.
A product of (a x b) by (b x c) is ``2abc`` FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

NATIVE_SECONDS = 30  # that Qwen2-Audio takes, and most encoders at once


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """Sizes of the language model, under Hugging Face's names.

    A family whose decoder is not dense subclasses it and overrides ``num_layer_weights`` and
    ``num_layer_weights_held``; one whose layers differ, the four sums over all layers.
    """

    # hidden_size, intermediate_size, num_hidden_layers: h, I and L
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    # num_attention_heads, num_key_value_heads, head_dim: H, G and d. G < H is grouped-query attention; H·d
    # need not be h
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int  # rows of the output layer, V

    @property
    def queries_size(self) -> int:
        """Width of a token's queries over all heads, H·d."""
        return self.num_attention_heads * self.head_dim

    @property
    def keys_size(self) -> int:
        """Width of a token's keys over all key-value heads, G·d (its values': the same)."""
        return self.num_key_value_heads * self.head_dim

    @property
    def num_layer_weights(self) -> int:
        """Matrix entries of one layer that a token is multiplied by: 2h(Hd + Gd) and 3hI."""
        attention = 2 * self.hidden_size * (self.queries_size + self.keys_size)
        mlp = 3 * self.hidden_size * self.intermediate_size
        return attention + mlp

    @property
    def num_layer_weights_held(self) -> int:
        """Matrix entries of one layer in memory: the same, unless only some experts compute."""
        return self.num_layer_weights

    @property
    def num_weights(self) -> int:
        """Matrix entries of all layers that a token is multiplied by."""
        return self.num_hidden_layers * self.num_layer_weights

    @property
    def num_weights_held(self) -> int:
        """Matrix entries of all layers in memory."""
        return self.num_hidden_layers * self.num_layer_weights_held

    @property
    def all_queries_size(self) -> int:
        """Width of a token's queries over all layers, LHd."""
        return self.num_hidden_layers * self.queries_size

    @property
    def all_keys_size(self) -> int:
        """Width of a token's keys in the cache, over all layers, LGd."""
        return self.num_hidden_layers * self.keys_size


@dataclass(frozen=True, kw_only=True)
class ExpertsDecoderShape(DecoderShape):
    """A decoder with a mixture of experts in every layer; I is what the experts of a token have together."""

    num_experts: int
    num_experts_per_token: int

    @property
    def num_layer_weights(self) -> int:
        """With the router's: 2h(Hd + Gd), 3hI and hE."""
        return super().num_layer_weights + self.hidden_size * self.num_experts

    @property
    def num_layer_weights_held(self) -> int:
        """With those of all experts."""
        per_expert = 3 * self.hidden_size * self.intermediate_size // self.num_experts_per_token
        return self.num_layer_weights + per_expert * (self.num_experts - self.num_experts_per_token)


class EncoderShape(Protocol):
    """Sizes and cost of an audio encoder; each family has its own closed form."""

    @property
    def window_seconds(self) -> float:
        """Length of a window, the encoder's input, in seconds."""

    @property
    def window_tokens(self) -> int:
        """Audio tokens of a full window."""

    @property
    def states_size(self) -> int:
        """Width d of the states: the input of the projector's last linear layer."""

    def flops(self, num_windows: int) -> int:
        """FLOPs of windows up to the states; a short window costs as much as a full one."""

    def project_flops(self, num_windows: int) -> int:
        """FLOPs of the projector's last linear layer: all of encoding that an index leaves to do."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The two parts of a Speech LLM, each with its own account."""

    decoder: DecoderShape
    encoder: EncoderShape

    @property
    def token_rate(self) -> float:
        """Audio tokens a second, f: of a full window."""
        return self.encoder.window_tokens / self.encoder.window_seconds

    @property
    def native_tokens(self) -> int:
        """Audio tokens of 30 s, which the paper's budget is of Qwen2-Audio."""
        return round(NATIVE_SECONDS * self.token_rate)
