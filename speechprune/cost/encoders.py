"""Encoders in closed form: sizes and FLOPs of each kind that a family has.

Symbols: h hidden size of the language model; of an encoder e width, F width of its MLP, M mel bins, P
positions.
A product of (a x b) by (b x c) is ``2abc`` FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass

CONVOLUTION_KERNEL = 3  # both convolutions of a Whisper-type encoder
CHUNK_MEL_FRAMES, CHUNK_POSITIONS = 100, 13  # of Qwen3-Omni's encoder: mel frames halved three times
NUM_WHISPER_PROMPT_TOKENS = 3  # start, language, task
# tokens that Whisper writes in the passes over a window of steady speech: the second takes up what the first
# leaves unfinished at the window's end
STEADY_SPEECH_PASSES = (90, 20)


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
class WhisperGatedMlpShape(WhisperMlpShape):
    """The same with a gate in the first layer, which gives tokens of another width, g: Ultravox's."""

    gated_size: int  # g

    @property
    def window_tokens(self) -> int:
        """Audio tokens of a full window; the last may lack positions."""
        return -(-self.num_positions // self.positions_per_token)

    @property
    def states_size(self) -> int:
        """Width behind the gate, g."""
        return self.gated_size

    def flops(self, num_windows: int) -> int:
        """The encoder's, and a first layer of twice the width: 4nig."""
        gates = 2 * self.window_tokens * self.projector_input_size * self.gated_size
        return super().flops(num_windows) + num_windows * gates


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


class TextShape:
    """What is the same of encoders whose windows become text: a state is a token id of the language model."""

    window_seconds: float

    @property
    def window_tokens(self) -> int:
        """Tokens of the language model that a window of steady speech becomes: three a second."""
        return round(3 * self.window_seconds)

    @property
    def states_size(self) -> int:
        """A state is one token id."""
        return 1

    def project_flops(self, num_windows: int) -> int:
        """Token ids are looked up: nothing is multiplied."""
        return 0


@dataclass(frozen=True, kw_only=True)
class CtcShape(TextShape, WhisperEncoderShape):
    """Whisper's encoder and a connector to the language model's tokens: ``EncoderShape`` of its cascade."""

    positions_per_frame: int  # p: stacked to one frame of the connector
    connector_size: int  # its hidden size, c
    num_classes: int  # tokens that it knows, and the blank: C

    def flops(self, num_windows: int) -> int:
        """Encoder and connector: adds 2P/p · (pec + ch + c + h(C - 1))."""
        hidden, projected = self.connector_size, self.projected_size
        weights = self.positions_per_frame * self.hidden_size * hidden + hidden * (projected + 1)
        weights += projected * (self.num_classes - 1)
        frames = self.num_positions // self.positions_per_frame
        return super().flops(num_windows) + num_windows * 2 * frames * weights


@dataclass(frozen=True, kw_only=True)
class TranscriberShape(TextShape, WhisperShape):
    """Whisper, encoder and decoder, that writes down its windows: the cascade's ``EncoderShape``.

    How many tokens it writes depends on the sound. ``flops``, for accounts before the fact, takes a window of
    steady speech; the account of an answer adds what its own windows took beyond that.
    """

    vocab_size: int  # of Whisper's decoder, V

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
