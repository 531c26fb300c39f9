"""Sizes and cost of Phi-4-multimodal's audio encoder."""

from __future__ import annotations

from dataclasses import dataclass

from speechprune.cost.encoders import CONVOLUTION_KERNEL


@dataclass(frozen=True, kw_only=True)
class SubsampledConformerShape:
    """Phi-4-multimodal's ``EncoderShape``: mel frames halved three times, conformer layers, an MLP.

    Positions attend to all of their window. An index holds what the MLP's first layer gives.
    """

    # hidden_size, num_layers, ffn_size: e, layers and F
    hidden_size: int
    num_layers: int
    ffn_size: int
    num_mel_bins: int
    num_channels: int  # of the convolutions that halve, C
    kernel: int  # of the convolution inside a layer, k
    projected_size: int  # width of an audio embedding, h
    num_mel_frames: int  # of a window
    window_seconds: float = 40

    @property
    def window_tokens(self) -> int:
        """An eighth of the mel frames, P."""
        return -(-self.num_mel_frames // 8)

    @property
    def states_size(self) -> int:
        """Both layers of the MLP give embeddings of the language model's width, h."""
        return self.projected_size

    def flops(self, num_windows: int) -> int:
        """Convolutions, layers of 2P(6eF + 7e²) + 2P'e(e + k) + 4P²e, the MLP's first layer 2Peh.

        P' = P + k - 1: the convolution inside a layer is padded on both sides and cut.
        """
        width, positions, channels = self.hidden_size, self.window_tokens, self.num_channels
        frames, bins = -(-self.num_mel_frames // 2), -(-self.num_mel_bins // 2)
        stem = 2 * CONVOLUTION_KERNEL**2 * channels * frames * bins
        for _ in range(2):  # one kernel a channel, then a product over channels
            frames, bins = -(-frames // 2), -(-bins // 2)
            stem += 2 * channels * (CONVOLUTION_KERNEL**2 + channels) * frames * bins
        stem += 2 * positions * channels * bins * width
        products = 2 * positions * (6 * width * self.ffn_size + 7 * width**2)
        padded = 2 * (positions + self.kernel - 1) * width * (width + self.kernel)
        layers = self.num_layers * (products + padded + 4 * positions**2 * width)
        return num_windows * (stem + layers + 2 * positions * width * self.projected_size)

    def project_flops(self, num_windows: int) -> int:
        """The MLP's second layer, 2Ph²."""
        return 2 * num_windows * self.window_tokens * self.projected_size**2
