"""Log probabilities of texts behind prompts: from a shared prefill as from a plain loop, in every family."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from speechprune.cost import prefill_flops, texts_flops
from speechprune.models import likelihood
from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.models.likelihood import text_log_probabilities
from tests.helpers.family_fixtures import UNLIKE_DECODERS
from tests.helpers.tiny_models import load_countable, load_tiny_model, with_sliding_window

TOLERANCE = 1e-4
FLOPS_TOLERANCE = 0.01
VOCABULARY = 500
# tokens of a prompt, and of each of its texts
SHAPES = st.lists(
    st.tuples(st.integers(1, 70), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1, max_size=4
)
UNEVEN = [(50, [3, 1, 7, 2]), (31, [5, 5]), (3, [1, 12]), (64, [9])]


@pytest.fixture(scope="module", params=UNLIKE_DECODERS)
def kit_name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kit, folder) -> SpeechModel:
    return load_tiny_model(folder, family=kit.family).model


def made(model: SpeechModel, shapes) -> tuple[list[SplicedPrompt], list[list[list[int]]]]:
    """Prompts and their texts out of random tokens."""
    numbers = torch.Generator().manual_seed(sum(length for length, _ in shapes))

    def token_ids(length: int) -> list[int]:
        return torch.randint(0, VOCABULARY, (length,), generator=numbers).tolist()

    prompts = [SplicedPrompt(model.embed_tokens(ids := token_ids(length)), ids) for length, _ in shapes]
    return prompts, [[token_ids(length) for length in lengths] for _, lengths in shapes]


@torch.inference_mode()
def plain_loop(model: SpeechModel, prompt: SplicedPrompt, texts: list[list[int]]) -> torch.Tensor:
    """Each prompt with each text in a forward of its own."""
    found = []
    for ids in texts:
        embeds = torch.cat([prompt.embeds, model.embed_tokens(ids)])
        text, whole = model.language_model, SplicedPrompt(embeds, [*prompt.token_ids, *ids])
        inputs = model.prompt_inputs([whole], "right")
        states = text.decoder(**inputs, use_cache=False).last_hidden_state[0]
        table = text.head(states).log_softmax(dim=-1)
        found += [table[len(prompt.token_ids) - 1 + place, id_] for place, id_ in enumerate(ids)]
    return torch.stack(found)


@given(SHAPES)
@settings(max_examples=25)
def test_a_shared_prefill_gives_what_a_plain_loop_gives(model, shapes):
    prompts, texts = made(model, shapes)
    found = text_log_probabilities(model, prompts, texts)
    for own, prompt, some in zip(found, prompts, texts, strict=True):
        torch.testing.assert_close(own, plain_loop(model, prompt, some), atol=TOLERANCE, rtol=0)


def test_layers_with_a_sliding_window_see_no_padding(model):
    sliding = with_sliding_window(model)
    prompts, texts = made(sliding, UNEVEN)
    found = text_log_probabilities(sliding, prompts, texts)
    for own, prompt, some in zip(found, prompts, texts, strict=True):
        torch.testing.assert_close(own, plain_loop(sliding, prompt, some), atol=TOLERANCE, rtol=0)


def test_logits_formed_in_parts_are_the_same(model, monkeypatch):
    prompts, texts = made(model, UNEVEN)
    whole = text_log_probabilities(model, prompts, texts)
    monkeypatch.setattr(likelihood, "STATES_AT_ONCE", 2)
    for own, other in zip(text_log_probabilities(model, prompts, texts), whole, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("lengths", [[6, 6, 6, 6], [1, 1]])
def test_flops_are_what_torch_counts(kit, folder, lengths):
    """With texts that need no padding."""
    model = load_countable(folder, family=kit.family)
    prompts, texts = made(model, [(300, lengths)])
    with FlopCounterMode(display=False) as counter:
        text_log_probabilities(model, prompts, texts)
    shape = model.shape.decoder
    expected = prefill_flops(shape, 300) + texts_flops(shape, 300, lengths)
    assert expected == pytest.approx(counter.get_total_flops(), rel=FLOPS_TOLERANCE)
