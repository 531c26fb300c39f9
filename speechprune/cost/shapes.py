"""Sizes of a Speech LLM that its cost depends on: a decoder, and an encoder of its family's own.

Symbols: h hidden size, I intermediate size, L layers, H query heads and G key-value heads of d each, V
vocabulary; of a Whisper-type encoder e width, F width of its MLP, M mel bins, P positions.
A product of (a x b) by (b x c) is ``2abc`` FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

CONVOLUTION_KERNEL = 3  # both convolutions of a Whisper-type encoder
NUM_WHISPER_PROMPT_TOKENS = 3  # start, language, task
# tokens that Whisper writes in the passes over a window of steady speech: the second takes up what the first
# leaves unfinished at the window's end
STEADY_SPEECH_PASSES = (90, 20)


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """Sizes of the language model, under Hugging Face's names.

    A family whose decoder is not dense subclasses it and overrides ``num_layer_weights`` and
    ``num_layer_weights_held``.
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

    def flops(self, num_windows: int) -> int:
        """Two convolutions and every layer: 2·3·(2P)·Me + 2·3·Pe² + layers · [2P(4e² + 2eF) + 4P²e]."""
        width, positions = self.hidden_size, self.num_positions
        num_mel_frames = 2 * positions
        convolution_1 = 2 * CONVOLUTION_KERNEL * num_mel_frames * self.num_mel_bins * width
        convolution_2 = 2 * CONVOLUTION_KERNEL * positions * width**2  # stride 2: half the mel frames
        projections_and_mlp = 2 * positions * (4 * width**2 + 2 * width * self.ffn_size)
        attention = 4 * positions**2 * width
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
class TranscriberShape(WhisperEncoderShape):
    """Whisper, encoder and decoder, that writes down its windows: the cascade's ``EncoderShape``.

    How many tokens it writes depends on the sound. ``flops``, for accounts before the fact, takes a window of
    steady speech; the account of an answer adds what its own windows took beyond that.
    """

    # num_decoder_layers, decoder_ffn_size, vocab_size: D, F' and V, of Whisper's decoder
    num_decoder_layers: int
    decoder_ffn_size: int
    vocab_size: int

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
        width, positions, layers = self.hidden_size, self.num_positions, self.num_decoder_layers
        num_steps, prompt = num_written - 1, NUM_WHISPER_PROMPT_TOKENS
        keys_and_values = 2 * 4 * layers * positions * width**2
        per_layer = 2 * (6 * width**2 + 2 * width * self.decoder_ffn_size) + 4 * positions * width
        per_token = layers * per_layer + 2 * self.vocab_size * width
        num_attended_keys = 1 + prompt**2 + num_steps * prompt + num_steps * (num_steps + 1) // 2
        decoder = (1 + prompt + num_steps) * per_token + 4 * layers * width * num_attended_keys
        return super().flops(1) + keys_and_values + decoder

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
