"""Shapes of models whose cost is known."""

from speechprune.cost import (
    DecoderShape,
    ModelShape,
    WhisperEncoderShape,
)
from tests.helpers.table_i import QWEN2_AUDIO_7B

DECODER_7B = QWEN2_AUDIO_7B.decoder
# Grouped queries, heads that together are narrower than the hidden size, and another encoder
GROUPED_QUERY = ModelShape(
    decoder=DecoderShape(
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=6,
        num_attention_heads=12,
        num_key_value_heads=3,
        head_dim=64,
        vocab_size=32000,
    ),
    encoder=WhisperEncoderShape(
        hidden_size=384,
        num_layers=4,
        ffn_size=1536,
        num_mel_bins=80,
        num_positions=1500,
        projected_size=1024,
    ),
)
