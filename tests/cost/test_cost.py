"""The two accounts of cost: the paper's against its Table I, the actual FLOPs against torch's own counter.

The counter runs on the meta device, so the 8.4 B model needs neither weights nor time. There both of
transformers' attention implementations come down to plain matrix products, which it counts in full.
"""

from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from speechprune.cost import (
    DecoderShape,
    ModelShape,
    WhisperEncoderShape,
    answer_cost,
    decode_flops,
    encode_flops,
    late_interaction_flops,
    paper_activation_bytes,
    paper_kv_cache_bytes,
    paper_prefill_flops,
    paper_weights_bytes,
    phase1_flops,
    phase2_flops,
    prefill_flops,
)
from tests.helpers.table_i import QWEN2_AUDIO_7B, TABLE_I, TABLE_I_TEXT_TOKENS

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
DECODER_7B = QWEN2_AUDIO_7B.decoder
# The counter also sees the rotary angles, a product of 10⁻⁸ of the whole; all else is exact. A tolerance
# of 1 % would hide the projector and the output layer.
COUNTER_TOLERANCE = 1e-5

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


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attn_implementation(request):
    return request.param


@pytest.fixture(
    scope="module", params=[(QWEN2_AUDIO_7B, 20), (GROUPED_QUERY, 6)], ids=["7b", "grouped_query"]
)
def shape_and_modules(request, attn_implementation):
    """A shape and transformers' own modules of that shape, without weights."""
    shape, num_encoder_heads = request.param
    decoder, encoder = shape.decoder, shape.encoder
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": encoder.hidden_size,
            "encoder_layers": encoder.num_layers,
            "encoder_attention_heads": num_encoder_heads,
            "encoder_ffn_dim": encoder.ffn_size,
            "num_mel_bins": encoder.num_mel_bins,
            "max_source_positions": encoder.num_positions,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": decoder.hidden_size,
            "intermediate_size": decoder.intermediate_size,
            "num_hidden_layers": decoder.num_hidden_layers,
            "num_attention_heads": decoder.num_attention_heads,
            "num_key_value_heads": decoder.num_key_value_heads,
            "head_dim": decoder.head_dim,
            "vocab_size": decoder.vocab_size,
        },
        attn_implementation=attn_implementation,
    )
    with torch.device("meta"):
        return shape, Qwen2AudioForConditionalGeneration(config).eval()


@pytest.fixture
def counter():
    """Torch's counter of the FLOPs of real modules: the oracle."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        yield counter


def test_encoding_is_what_torch_counts(shape_and_modules, counter):
    shape, modules = shape_and_modules
    num_windows = 3
    encoder = shape.encoder
    input_features = torch.empty(num_windows, encoder.num_mel_bins, 2 * encoder.num_positions, device="meta")

    audio_features = modules.model.audio_tower(input_features).last_hidden_state
    counted_states = counter.get_total_flops()
    audio_embeds = modules.model.multi_modal_projector(audio_features)

    assert audio_features.shape == (num_windows, encoder.window_tokens, encoder.states_size)
    assert audio_embeds.shape == (num_windows, encoder.window_tokens, shape.decoder.hidden_size)
    assert encoder.flops(num_windows) == pytest.approx(counted_states, rel=COUNTER_TOLERANCE)
    assert encoder.project_flops(num_windows) == counter.get_total_flops() - counted_states
    assert encode_flops(shape, num_windows) == pytest.approx(counter.get_total_flops(), rel=COUNTER_TOLERANCE)


def test_prefill_and_decoding_are_what_torch_counts(shape_and_modules, counter):
    shape, modules = shape_and_modules[0].decoder, shape_and_modules[1]
    language_model, lm_head = modules.model.language_model, modules.lm_head
    num_prompt_tokens, num_generated_tokens = 857, 4

    prompt_embeds = torch.empty(1, num_prompt_tokens, shape.hidden_size, device="meta")
    prompt_output = language_model(inputs_embeds=prompt_embeds, use_cache=True)
    lm_head(prompt_output.last_hidden_state[:, -1:])  # yields the first generated token
    counted_prefill = counter.get_total_flops()
    assert prefill_flops(shape, num_prompt_tokens) == pytest.approx(counted_prefill, rel=COUNTER_TOLERANCE)

    for _ in range(num_generated_tokens - 1):
        step = language_model(
            inputs_embeds=torch.empty(1, 1, shape.hidden_size, device="meta"),
            past_key_values=prompt_output.past_key_values,
            use_cache=True,
        )
        lm_head(step.last_hidden_state)
    counted_decoding = counter.get_total_flops() - counted_prefill
    assert decode_flops(shape, num_prompt_tokens, num_generated_tokens) == pytest.approx(
        counted_decoding, rel=COUNTER_TOLERANCE
    )


def test_hugging_faces_own_forward_forms_logits_everywhere(shape_and_modules, counter):
    shape, modules = shape_and_modules[0].decoder, shape_and_modules[1]
    num_tokens = 257
    modules(inputs_embeds=torch.empty(1, num_tokens, shape.hidden_size, device="meta"))
    assert prefill_flops(shape, num_tokens, num_logit_positions=num_tokens) == pytest.approx(
        counter.get_total_flops(), rel=COUNTER_TOLERANCE
    )


def test_weights_and_cache_are_those_of_the_real_layers(shape_and_modules):
    shape, modules = shape_and_modules[0].decoder, shape_and_modules[1]
    language_model, num_tokens = modules.model.language_model, 107
    matrices = [weight for weight in language_model.layers.parameters() if weight.ndim == 2]
    assert paper_weights_bytes(shape) == 2 * sum(matrix.numel() for matrix in matrices)

    prompt_embeds = torch.empty(1, num_tokens, shape.hidden_size, device="meta")
    cache = language_model(inputs_embeds=prompt_embeds, use_cache=True).past_key_values
    num_cached = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert paper_kv_cache_bytes(shape, num_tokens) == 2 * num_cached


@pytest.mark.parametrize("shape", [DECODER_7B, GROUPED_QUERY.decoder], ids=["7b", "grouped_query"])
def test_both_phases_are_what_torch_counts(shape, counter):
    num_audio_tokens, n = 2250, 750
    num_groups = shape.num_attention_heads // shape.num_key_value_heads

    audio_embeds = torch.empty(num_audio_tokens, shape.hidden_size, device="meta")
    audio_embeds @ torch.empty(shape.hidden_size, 1, device="meta")  # the mean of the text embeddings
    counted_phase1 = counter.get_total_flops()
    assert phase1_flops(shape, num_audio_tokens) == counted_phase1

    survivors = audio_embeds[:n]
    queries = survivors @ torch.empty(shape.hidden_size, shape.queries_size, device="meta")
    keys = survivors @ torch.empty(shape.hidden_size, shape.keys_size, device="meta")
    queries = queries.view(n, -1, shape.head_dim).transpose(0, 1)
    keys = keys.view(n, -1, shape.head_dim).transpose(0, 1).repeat_interleave(num_groups, dim=0)
    attention = (queries @ keys.transpose(1, 2)).softmax(-1)
    torch.empty(len(attention), 1, n, device="meta") @ attention  # the mean over queries
    assert phase2_flops(shape, n) == counter.get_total_flops() - counted_phase1


@pytest.mark.parametrize("shape", [DECODER_7B, GROUPED_QUERY.decoder], ids=["7b", "grouped_query"])
def test_late_interaction_is_what_torch_counts(shape, counter):
    audio_embeds, query_embeds = (torch.empty(n, shape.hidden_size, device="meta") for n in (2250, 25))
    audio_embeds @ query_embeds.T
    assert late_interaction_flops(shape, 2250, 25) == counter.get_total_flops()


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
