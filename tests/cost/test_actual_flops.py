"""The actual FLOPs against torch's own counter.

The counter runs on the meta device, so the 8.4 B model needs neither weights nor time. There both of
transformers' attention implementations come down to plain matrix products, which it counts in full.
"""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from speechprune.cost import (
    decode_flops,
    encode_flops,
    late_interaction_flops,
    paper_kv_cache_bytes,
    paper_weights_bytes,
    phase1_flops,
    phase2_flops,
    prefill_flops,
)
from tests.helpers.cost_shapes import DECODER_7B, GROUPED_QUERY
from tests.helpers.table_i import QWEN2_AUDIO_7B

# The counter also sees the rotary angles, a product of 10⁻⁸ of the whole; all else is exact. A tolerance
# of 1 % would hide the projector and the output layer.
COUNTER_TOLERANCE = 1e-5


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
