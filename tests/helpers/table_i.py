"""Table I of the paper, as printed, and the model that it is about."""

from speechprune.cost import DecoderShape, ModelShape, WhisperEncoderShape

TABLE_I_TEXT_TOKENS = 107
# audio tokens: TFLOPs, total memory (GB), storing activation (GB), as printed
TABLE_I = {
    750: ("12.20", "13.40", "0.19"),
    600: ("10.06", "13.32", "0.15"),
    450: ("7.93", "13.24", "0.11"),
    300: ("5.79", "13.17", "0.07"),
    150: ("3.66", "13.09", "0.04"),
}

QWEN2_AUDIO_7B = ModelShape(
    decoder=DecoderShape(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=128,
        vocab_size=156032,
    ),
    encoder=WhisperEncoderShape(
        hidden_size=1280,
        num_layers=32,
        ffn_size=5120,
        num_mel_bins=128,
        num_positions=1500,
        projected_size=4096,
    ),
)
