"""The two accounts of cost: the paper's against its Table I, and what must hold of the actual FLOPs."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.cost import (
    DecoderShape,
    ModelShape,
    WhisperEncoderShape,
    answer_cost,
    decode_flops,
    encode_flops,
    paper_activation_bytes,
    paper_kv_cache_bytes,
    paper_prefill_flops,
    paper_weights_bytes,
    phase1_flops,
    phase2_flops,
    prefill_flops,
)
from tests.helpers.cost_shapes import DECODER_7B, GROUPED_QUERY
from tests.helpers.table_i import QWEN2_AUDIO_7B, TABLE_I, TABLE_I_TEXT_TOKENS

SIZES = st.integers(1, 64)
TOKENS = st.integers(1, 20_000)


@st.composite
def decoder_shapes(draw: st.DrawFn) -> DecoderShape:
    num_key_value_heads = draw(st.integers(1, 4))
    return DecoderShape(
        hidden_size=draw(SIZES),
        intermediate_size=draw(SIZES),
        num_hidden_layers=draw(SIZES),
        num_attention_heads=num_key_value_heads * draw(st.integers(1, 4)),
        num_key_value_heads=num_key_value_heads,
        head_dim=draw(SIZES),
        vocab_size=draw(SIZES),
    )


@st.composite
def model_shapes(draw: st.DrawFn) -> ModelShape:
    decoder = draw(decoder_shapes())
    encoder = WhisperEncoderShape(
        hidden_size=draw(SIZES),
        num_layers=draw(SIZES),
        ffn_size=draw(SIZES),
        num_mel_bins=draw(SIZES),
        num_positions=2 * draw(SIZES),
        projected_size=decoder.hidden_size,
    )
    return ModelShape(decoder=decoder, encoder=encoder)


# The paper's account


@pytest.mark.parametrize("num_audio_tokens", TABLE_I)
def test_table_i_to_the_printed_digit(num_audio_tokens):
    """Ordinary rounding to two decimals gives all fifteen figures; 0.1949 GB is what is printed as 0.19."""
    num_tokens = num_audio_tokens + TABLE_I_TEXT_TOKENS
    tflops = paper_prefill_flops(DECODER_7B, num_tokens) / 1e12
    memory_gb = (paper_weights_bytes(DECODER_7B) + paper_kv_cache_bytes(DECODER_7B, num_tokens)) / 1e9
    activation_gb = paper_activation_bytes(DECODER_7B, num_tokens) / 1e9
    printed = (f"{tflops:.2f}", f"{memory_gb:.2f}", f"{activation_gb:.2f}")
    assert printed == TABLE_I[num_audio_tokens]


@given(decoder_shapes(), TOKENS)
def test_as_many_key_value_heads_as_heads_is_the_papers_formula(shape, s):
    """The multi-head formulas behind Table I, letter by letter."""
    H = shape.num_attention_heads
    h = H * shape.head_dim
    shape = replace(shape, hidden_size=h, num_key_value_heads=H)
    I, L, V = shape.intermediate_size, shape.num_hidden_layers, shape.vocab_size  # noqa: E741

    assert paper_prefill_flops(shape, s) == 2 * s * (L * (4 * h**2 + 3 * h * I) + V * h)
    assert paper_weights_bytes(shape) == 2 * L * (4 * h**2 + 3 * h * I)
    assert paper_kv_cache_bytes(shape, s) == 4 * L * s * h
    assert paper_activation_bytes(shape, s) == 2 * (s * (9 * h + 2 * I) + 2 * H * s**2)


def test_activations_are_those_of_llm_viewers_operators():
    """One layer's stored outputs, operator by operator, where the heads are narrower than the hidden size."""
    n, h, Hd = 557, GROUPED_QUERY.decoder.hidden_size, GROUPED_QUERY.decoder.queries_size
    widths = {"q_proj": Hd, "qk_scores": 12 * n, "softmax": 12 * n, "sv_values": Hd, "out_proj": h}
    widths |= {"gate_proj": 2816, "up_proj": 2816, "mlp_act": h, "down_proj": h}
    widths |= {"attn_norm": h, "attn_add": h, "mlp_norm": h, "mlp_add": h}
    assert Hd < h
    assert paper_activation_bytes(GROUPED_QUERY.decoder, n) == 2 * n * sum(widths.values())


# Actual FLOPs


def test_the_7b_models_known_magnitudes():
    """An hour costs 276 TFLOPs to encode, against some 10 for a question about it."""
    assert encode_flops(QWEN2_AUDIO_7B, 120) / 1e12 == pytest.approx(276, rel=0.01)
    pruning = phase1_flops(DECODER_7B, 2250) + phase2_flops(DECODER_7B, 750)
    assert pruning < 0.01 * prefill_flops(DECODER_7B, 857)


@given(decoder_shapes(), TOKENS, st.integers(1, 500), st.integers(1, 500))
def test_generating_in_two_goes_costs_the_same(shape, num_prompt_tokens, first, more):
    in_one_go = decode_flops(shape, num_prompt_tokens, first + more)
    in_two = decode_flops(shape, num_prompt_tokens, first)
    in_two += decode_flops(shape, num_prompt_tokens + first - 1, more + 1)
    assert in_one_go == in_two


@given(decoder_shapes(), TOKENS)
def test_nothing_generated_or_one_token_takes_no_decoding(shape, num_prompt_tokens):
    assert decode_flops(shape, num_prompt_tokens, 0) == 0
    assert decode_flops(shape, num_prompt_tokens, 1) == 0


@given(model_shapes(), TOKENS)
def test_every_cost_grows_with_tokens(shape, num_tokens):
    for cost in (
        paper_prefill_flops,
        paper_kv_cache_bytes,
        paper_activation_bytes,
        phase1_flops,
        phase2_flops,
        prefill_flops,
    ):
        assert 0 < cost(shape.decoder, num_tokens) < cost(shape.decoder, num_tokens + 1)
    assert 0 < encode_flops(shape, num_tokens) < encode_flops(shape, num_tokens + 1)
    two = decode_flops(shape.decoder, num_tokens, 2)
    assert two < decode_flops(shape.decoder, num_tokens + 1, 2)
    assert two < decode_flops(shape.decoder, num_tokens, 3)


# Both accounts of one answer


@given(
    shape=model_shapes(),
    num_audio_tokens_kept=TOKENS,
    num_text_tokens=st.integers(1, 500),
    num_generated_tokens=st.integers(0, 100),
    num_prefills=st.integers(1, 8),
)
def test_an_answers_sums_add_up(
    shape, num_audio_tokens_kept, num_text_tokens, num_generated_tokens, num_prefills
):
    num_tokens = num_audio_tokens_kept + num_text_tokens
    encoding, shape = encode_flops(shape, 3) / 8, shape.decoder
    pruning = phase2_flops(shape, 750)
    cost = answer_cost(
        shape,
        num_audio_tokens_kept=num_audio_tokens_kept,
        num_text_tokens=num_text_tokens,
        encode_flops=encoding,
        prune_flops=pruning,
        num_generated_tokens=num_generated_tokens,
        num_prefills=num_prefills,
    )
    language_model = num_prefills * prefill_flops(shape, num_tokens)  # the last position's logits alone
    language_model += decode_flops(shape, num_tokens, num_generated_tokens)
    assert asdict(cost) == pytest.approx(
        {
            "tflops_prefill": num_prefills * paper_prefill_flops(shape, num_tokens) / 1e12,
            "tflops_encode": encoding / 1e12,
            "tflops_prune": pruning / 1e12,
            "tflops_total": (encoding + pruning + language_model) / 1e12,
            "weights_bytes": paper_weights_bytes(shape),
            "kv_cache_bytes": paper_kv_cache_bytes(shape, num_tokens),
            "activation_bytes": paper_activation_bytes(shape, num_tokens),
        },
        rel=1e-12,
        abs=0,
    )
