"""Sizes of a Speech LLM that its cost depends on: a decoder, and an encoder of its family's own.

Symbols: h hidden size, I intermediate size, L layers, H query heads and G key-value heads of d each, V
vocabulary; of a Whisper-type encoder e width, F width of its MLP, M mel bins, P positions.
A product of (a x b) by (b x c) is ``2abc`` FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

CONVOLUTION_KERNEL = 3  # both convolutions of a Whisper-type encoder
CHUNK_MEL_FRAMES, CHUNK_POSITIONS = 100, 13  # of Qwen3-Omni's encoder: mel frames halved three times
NUM_WHISPER_PROMPT_TOKENS = 3  # start, language, task
# tokens that Whisper writes in the passes over a window of steady speech: the second takes up what the first
# leaves unfinished at the window's end
STEADY_SPEECH_PASSES = (90, 20)


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
class WhisperEncoderShape:
    """A Whisper encoder, pooling of stride 2 and a linear projector: Qwen2-Audio's ``EncoderShape``."""

    # hidden_size, num_layers, ffn_size: e, layers and F
    hidden_size: int
    num_layers: int
    ffn_size: int
    num_mel_bins: int  # channels of the log-mel input, M
    # positions of one window inside the encoder, P: half its mel frames, twice its audio tokens
    num_positions: int
    projected_size: int  # width of an audio embedding, h
    window_seconds: float = 30  # length of a window in seconds

    @property
    def window_tokens(self) -> int:
        """Audio tokens of a full window, after the pooling of stride 2."""
        return self.num_positions // 2

    @property
    def states_size(self) -> int:
        """The encoder's width, e."""
        return self.hidden_size

    @property
    def num_attended_positions(self) -> int:
        """Positions that a position attends to: all of the window's."""
        return self.num_positions

    def flops(self, num_windows: int) -> int:
        """Two convolutions and every layer: 2·3·(2P)·Me + 2·3·Pe² + layers · [2P(4e² + 2eF) + 4P²e]."""
        width, positions = self.hidden_size, self.num_positions
        num_mel_frames = 2 * positions
        convolution_1 = 2 * CONVOLUTION_KERNEL * num_mel_frames * self.num_mel_bins * width
        convolution_2 = 2 * CONVOLUTION_KERNEL * positions * width**2  # stride 2: half the mel frames
        projections_and_mlp = 2 * positions * (4 * width**2 + 2 * width * self.ffn_size)
        attention = 4 * positions * self.num_attended_positions * width
        layers = self.num_layers * (projections_and_mlp + attention)
        return num_windows * (convolution_1 + convolution_2 + layers)

    def project_flops(self, num_windows: int) -> int:
        """The projector's last layer, d to h, on n tokens a window: 2ndh."""
        return 2 * num_windows * self.window_tokens * self.states_size * self.projected_size


@dataclass(frozen=True, kw_only=True)
class WhisperMlpShape(WhisperEncoderShape):
    """A Whisper encoder and a projector of two layers: the ``EncoderShape`` of Audio Flamingo 3 and Voxtral.

    An index holds what the first layer gives, so that this layer is part of encoding.
    """

    positions_per_token: int  # averaged or stacked to an audio token
    projector_input_size: int  # width of a token before the projector, i

    @property
    def window_tokens(self) -> int:
        """Audio tokens of a full window."""
        return self.num_positions // self.positions_per_token

    @property
    def states_size(self) -> int:
        """Both layers give embeddings of the language model's width, h."""
        return self.projected_size

    def flops(self, num_windows: int) -> int:
        """The encoder's, and the first layer on n tokens a window: 2nih."""
        first_layer = 2 * self.window_tokens * self.projector_input_size * self.states_size
        return super().flops(num_windows) + num_windows * first_layer


@dataclass(frozen=True, kw_only=True)
class BlockwiseEncoderShape(WhisperEncoderShape):
    """The same encoder with attention inside blocks of B positions, 4PBe a layer: Qwen2.5-Omni's."""

    attention_block: int  # B

    @property
    def num_attended_positions(self) -> int:
        """Those of its block."""
        return self.attention_block


@dataclass(frozen=True, kw_only=True)
class ChunkedEncoderShape:
    """Qwen3-Omni's ``EncoderShape``: convolutions over chunks of a second, 13 positions each, then layers.

    Positions attend inside blocks of several chunks, and each is a token.
    """

    # hidden_size, num_layers, ffn_size: e, layers and F
    hidden_size: int
    num_layers: int
    ffn_size: int
    num_mel_bins: int
    num_channels: int  # of the convolutions, C
    projected_size: int  # width of an audio embedding, h
    block_chunks: int
    window_seconds: float = 32

    @property
    def window_tokens(self) -> int:
        """13 a chunk."""
        return CHUNK_POSITIONS * round(self.window_seconds)

    @property
    def states_size(self) -> int:
        """The encoder's width, e."""
        return self.hidden_size

    def flops(self, num_windows: int) -> int:
        """Convolutions of stride 2 in time and frequency, a linear layer, layers, one of the projector."""
        width, positions, channels = self.hidden_size, self.window_tokens, self.num_channels
        stem, frames, bins, inputs = 0, CHUNK_MEL_FRAMES, self.num_mel_bins, 1
        for _ in range(3):
            frames, bins = (frames + 1) // 2, (bins + 1) // 2
            stem += 2 * CONVOLUTION_KERNEL**2 * inputs * channels * frames * bins
            inputs = channels
        stem += 2 * CHUNK_POSITIONS * channels * bins * width
        products = 2 * positions * (4 * width**2 + 2 * width * self.ffn_size)
        attention = 4 * positions * CHUNK_POSITIONS * self.block_chunks * width
        layers = self.num_layers * (products + attention)
        return num_windows * (round(self.window_seconds) * stem + layers + 2 * positions * width**2)

    def project_flops(self, num_windows: int) -> int:
        """The projector's last layer: 2neh."""
        return 2 * num_windows * self.window_tokens * self.hidden_size * self.projected_size


@dataclass(frozen=True, kw_only=True)
class WhisperShape(WhisperEncoderShape):
    """Whisper's encoder and decoder."""

    # num_decoder_layers, decoder_ffn_size: D and F' of the decoder
    num_decoder_layers: int
    decoder_ffn_size: int

    def cross_attention_flops(self) -> int:
        """The decoder's keys and values of a window's positions: 4DPe²."""
        return 4 * self.num_decoder_layers * self.num_positions * self.hidden_size**2

    def decoder_token_flops(self) -> int:
        """The decoder's layers for a token, attention to other tokens apart: 2D(6e² + 2eF') + 4DPe."""
        width = self.hidden_size
        products = 2 * (6 * width**2 + 2 * width * self.decoder_ffn_size)
        return self.num_decoder_layers * (products + 4 * self.num_positions * width)


@dataclass(frozen=True, kw_only=True)
class QueryingEncoderShape(WhisperShape):
    """A Whisper whose decoder turns n learned queries into a window's states: DiVA's ``EncoderShape``."""

    num_queries: int  # n, causal among themselves

    @property
    def window_tokens(self) -> int:
        """One a query."""
        return self.num_queries

    def flops(self, num_windows: int) -> int:
        """Encoder and decoder: adds 4DPe² + n [2D(6e² + 2eF') + 4DPe] + 4Dn²e."""
        among_queries = 4 * self.num_decoder_layers * self.num_queries**2 * self.hidden_size
        decoder = self.cross_attention_flops() + self.num_queries * self.decoder_token_flops() + among_queries
        return super().flops(num_windows) + num_windows * decoder


@dataclass(frozen=True, kw_only=True)
class TranscriberShape(WhisperShape):
    """Whisper, encoder and decoder, that writes down its windows: the cascade's ``EncoderShape``.

    How many tokens it writes depends on the sound. ``flops``, for accounts before the fact, takes a window of
    steady speech; the account of an answer adds what its own windows took beyond that.
    """

    vocab_size: int  # of Whisper's decoder, V

    @property
    def window_tokens(self) -> int:
        """Tokens of the language model that a window of steady speech becomes: three a second."""
        return round(3 * self.window_seconds)

    @property
    def states_size(self) -> int:
        """A state is one token id."""
        return 1

    def flops(self, num_windows: int) -> int:
        """Windows of steady speech: see ``STEADY_SPEECH_PASSES``."""
        return num_windows * sum(self.pass_flops(num_tokens) for num_tokens in STEADY_SPEECH_PASSES)

    def pass_flops(self, num_written: int) -> int:
        """One pass over a window that writes w tokens, the closing one and timestamps included.

        The encoder; twice the keys and values of its positions, 2 · 4DPe²; a token that gives language and
        probability of speech, the prompt of p, and w - 1 more, of 2D(6e² + 2eF') + 4DPe + 2Ve each; and their
        attention to one another, 4De (1 + p² + (w - 1)p + w(w - 1)/2).
        """
        num_steps, prompt = num_written - 1, NUM_WHISPER_PROMPT_TOKENS
        per_token = self.decoder_token_flops() + 2 * self.vocab_size * self.hidden_size
        num_attended_keys = 1 + prompt**2 + num_steps * prompt + num_steps * (num_steps + 1) // 2
        attention = 4 * self.num_decoder_layers * self.hidden_size * num_attended_keys
        decoder = (1 + prompt + num_steps) * per_token + attention
        return super().flops(1) + 2 * self.cross_attention_flops() + decoder

    def project_flops(self, num_windows: int) -> int:
        """Token ids are looked up: nothing is multiplied."""
        return 0


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The two parts of a Speech LLM, each with its own account."""

    decoder: DecoderShape
    encoder: EncoderShape

    @property
    def token_rate(self) -> float:
        """Audio tokens a second, f: of a full window."""
        return self.encoder.window_tokens / self.encoder.window_seconds
