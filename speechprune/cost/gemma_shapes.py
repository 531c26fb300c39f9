"""Sizes and cost of Gemma 4: layers of several widths, and a conformer as audio encoder."""

from __future__ import annotations

from dataclasses import dataclass

from speechprune.cost.encoders import CONVOLUTION_KERNEL
from speechprune.cost.shapes import DecoderShape


@dataclass(frozen=True, kw_only=True)
class UnevenDecoderShape(DecoderShape):
    """A decoder whose layers differ in width, each with an input per token of its own: Gemma 4's.

    ``head_dim``, ``num_key_value_heads`` and ``intermediate_size`` are the first layer's; the last layers
    reuse earlier keys and values. Layers with a sliding window are counted as if they kept all keys.
    """

    # sums over the layers: of H·d, of G·d where a layer has keys of its own, and of I
    sum_of_queries: int
    sum_of_keys: int
    sum_of_intermediates: int
    per_layer_size: int  # width of a layer's own input, p

    @property
    def all_queries_size(self) -> int:
        """Width of a token's queries over all layers, ΣHd."""
        return self.sum_of_queries

    @property
    def all_keys_size(self) -> int:
        """Width of a token's keys in the cache, over all layers, ΣGd."""
        return self.sum_of_keys

    @property
    def num_weights(self) -> int:
        """2h(ΣHd + ΣGd) + 3hΣI, and for the layers' own inputs 3Lhp."""
        attention = 2 * self.hidden_size * (self.sum_of_queries + self.sum_of_keys)
        mlp = 3 * self.hidden_size * self.sum_of_intermediates
        own_inputs = 3 * self.num_hidden_layers * self.hidden_size * self.per_layer_size
        return attention + mlp + own_inputs

    @property
    def num_weights_held(self) -> int:
        """The same: all weights compute."""
        return self.num_weights


@dataclass(frozen=True, kw_only=True)
class ConformerShape:
    """Gemma 4's ``EncoderShape``: two convolutions of stride 2, conformer layers, a linear projector.

    Positions attend inside blocks of c positions to those and the ones before and behind, C together.
    """

    # hidden_size, num_layers: e and layers
    hidden_size: int
    num_layers: int
    num_mel_bins: int
    # num_channels_1, num_channels_2: of the convolutions
    num_channels_1: int
    num_channels_2: int
    kernel: int  # of the convolution inside a layer
    block_positions: int  # c
    context_positions: int  # C
    states_size: int  # width of the encoder's output
    projected_size: int  # width of an audio embedding, h
    num_mel_frames: int  # of a window
    window_seconds: float = 30

    @property
    def window_tokens(self) -> int:
        """A quarter of the mel frames."""
        return -(-self.num_mel_frames // 4)

    def flops(self, num_windows: int) -> int:
        """Convolutions, layers of 2N(23e² + ke) + 2N'e(2C + r) + 2re², the output layer.

        N positions of a window, N' in whole blocks, r = C // 2 + 1 relative positions.
        """
        width, positions = self.hidden_size, self.window_tokens
        first, second = self.num_channels_1, self.num_channels_2
        frames, bins = -(-self.num_mel_frames // 2), -(-self.num_mel_bins // 2)
        convolution_1 = 2 * CONVOLUTION_KERNEL**2 * first * frames * bins
        bins = -(-bins // 2)
        convolution_2 = 2 * CONVOLUTION_KERNEL**2 * first * second * positions * bins
        ends = 2 * positions * width * (second * bins + self.states_size)
        products = 2 * positions * (23 * width**2 + self.kernel * width)
        in_blocks = -(-positions // self.block_positions) * self.block_positions
        relative = self.context_positions // 2 + 1
        attention = 2 * in_blocks * width * (2 * self.context_positions + relative) + 2 * relative * width**2
        layers = self.num_layers * (products + attention)
        return num_windows * (convolution_1 + convolution_2 + ends + layers)

    def project_flops(self, num_windows: int) -> int:
        """The projector, d to h, on n tokens a window: 2ndh."""
        return 2 * num_windows * self.window_tokens * self.states_size * self.projected_size
