"""Greedy generation: with a growing cache, with a static one, by a graph, always Hugging Face's tokens.

The graph is simulated, and real where there is a GPU.
"""

import copy
from dataclasses import replace

import pytest
import torch

from speechprune.models import cuda_graphs, generation
from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.models.compilation import compile_layers
from speechprune.models.generation import GreedyDecoding, generate
from tests.helpers.families import Kit
from tests.helpers.family_fixtures import UNLIKE_DECODERS
from tests.helpers.simulated_graph import forget_failures, simulate_gpu
from tests.helpers.tiny_models import load_tiny_model, with_sliding_window

LENGTHS = [50, 31, 64, 3]
MOST_TOKENS = 24
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPUS = ["simulated", pytest.param("real", marks=needs_gpu)]


@pytest.fixture(scope="module", params=UNLIKE_DECODERS)
def kit_name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def cpu_model(kit, folder) -> SpeechModel:
    return load_tiny_model(folder, family=kit.family).model


@pytest.fixture(scope="module")
def expected(kit, cpu_model) -> list[list[int]]:
    """Hugging Face's own tokens for each prompt alone, to be cut at closing tokens."""
    own = getattr(cpu_model.model, "language_model", cpu_model.model)
    with torch.inference_mode():
        tokens = [
            own.generate(
                **own_inputs(kit, prompt),
                attention_mask=torch.ones(1, len(prompt.token_ids), dtype=torch.long),
                max_new_tokens=MOST_TOKENS,
                do_sample=False,
                eos_token_id=[-1],
            )[0].tolist()[-MOST_TOKENS:]
            for prompt in prompts_of(cpu_model)
        ]
    assert len({tuple(row) for row in tokens}) == len(LENGTHS)
    assert all(len(row) == MOST_TOKENS for row in tokens)
    return tokens


def own_inputs(kit: Kit, prompt: SplicedPrompt) -> dict[str, torch.Tensor]:
    if kit.generates_from_ids:
        return {"input_ids": torch.tensor([prompt.token_ids])}
    return {"inputs_embeds": prompt.embeds[None]}


@pytest.fixture
def gpu_model(request, monkeypatch, kit, folder, cpu_model) -> tuple[SpeechModel, list]:
    """A model that closes no answer, on a real or simulated GPU, and the steps that were captured of it."""
    forget_failures(monkeypatch)
    if request.param == "simulated":
        return closing_at(cpu_model, ()), simulate_gpu(monkeypatch)
    model = load_tiny_model(folder, family=kit.family, device="cuda").model
    captured, capture = [], cuda_graphs._capture

    def note_capture(graph, step, device):
        captured.append(step)
        return capture(graph, step, device)

    monkeypatch.setattr(cuda_graphs, "_capture", note_capture)
    return closing_at(model, ()), captured


@pytest.fixture
def graph_model(gpu_model) -> tuple[SpeechModel, list]:
    """The same, of the families whose steps can be captured."""
    if has_sliding_window(gpu_model[0]):
        pytest.skip("layers with a sliding window go without a graph")
    return gpu_model


def has_sliding_window(model: SpeechModel) -> bool:
    layers = getattr(model.language_model.decoder.config, "layer_types", None) or []
    return "sliding_attention" in layers


def prompts_of(model: SpeechModel) -> list[SplicedPrompt]:
    numbers = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, 500, (length,), generator=numbers).tolist() for length in LENGTHS]
    return [SplicedPrompt(model.embed_tokens(row), row) for row in ids]


def closing_at(model: SpeechModel, token_ids) -> SpeechModel:
    changed = copy.copy(model)
    changed.language_model = replace(model.language_model, end_token_ids=frozenset(token_ids))
    return changed


def up_to(closing: set[int], rows: list[list[int]], most: int) -> list[list[int]]:
    ends = [next((i + 1 for i, token in enumerate(row) if token in closing), most) for row in rows]
    return [row[: min(end, most)] for row, end in zip(rows, ends, strict=True)]


@pytest.mark.parametrize("most", [1, 2, 8, 9, MOST_TOKENS])
def test_tokens_are_hugging_faces(cpu_model, expected, most):
    model = closing_at(cpu_model, ())
    tokens, _ = generate(model, prompts_of(model), most)
    assert tokens == up_to(set(), expected, most)


@pytest.mark.parametrize("most", [1, 2, 8, 9, 11, MOST_TOKENS])
@pytest.mark.parametrize("gpu_model", GPUS, indirect=True)
def test_tokens_of_a_graph_are_hugging_faces(gpu_model, expected, most):
    model, captured = gpu_model
    tokens, _ = generate(model, prompts_of(model), most)
    assert tokens == up_to(set(), expected, most)
    fits_graph = not has_sliding_window(model)
    assert len(captured) == (fits_graph and most > generation.MIN_STEPS_FOR_GRAPH)


@pytest.mark.parametrize("gpu_model", GPUS, indirect=True)
def test_closing_tokens_end_answers(graph_model, cpu_model, expected):
    """In any step between two looks; some answers go on to the limit."""
    model, _ = graph_model
    for closing in ([row[place] for row in expected[:2]] for place in range(12)):
        tokens, _ = generate(closing_at(model, closing), prompts_of(model), MOST_TOKENS)
        assert tokens == up_to(set(closing), expected, MOST_TOKENS)
        tokens, _ = generate(closing_at(cpu_model, closing), prompts_of(cpu_model), MOST_TOKENS)
        assert tokens == up_to(set(closing), expected, MOST_TOKENS)


@pytest.mark.parametrize("gpu_model", GPUS, indirect=True)
@pytest.mark.parametrize(("place", "num_captured"), [(0, 0), (1, 0), (2, 1), (9, 1)])
def test_no_step_runs_long_after_the_last_answer(graph_model, expected, monkeypatch, place, num_captured):
    model, captured = graph_model
    closing = [row[place] for row in expected]
    num_steps = []
    step = GreedyDecoding.step
    monkeypatch.setattr(GreedyDecoding, "step", lambda self: num_steps.append(1) or step(self))
    tokens, _ = generate(closing_at(model, closing), prompts_of(model), MOST_TOKENS)
    assert tokens == up_to(set(closing), expected, MOST_TOKENS)
    assert len(captured) == num_captured
    assert len(num_steps) == (cuda_graphs.WARM_UP_STEPS + num_captured if place else 0)


@pytest.mark.parametrize("gpu_model", GPUS, indirect=True)
def test_a_decoder_that_waits_for_the_device_goes_without_a_graph(graph_model, expected, recwarn):
    """Found before it is captured, and once."""
    model, captured = graph_model
    decoder = model.language_model.decoder
    hook = decoder.register_forward_pre_hook(wait_for_a_value, with_kwargs=True)
    for _ in range(2):
        assert generate(model, prompts_of(model), MOST_TOKENS)[0] == expected
    hook.remove()
    assert not captured
    assert len([one for one in recwarn if "waits for the device" in str(one.message)]) == 1


@pytest.mark.parametrize("gpu_model", GPUS, indirect=True)
def test_a_decoder_that_cannot_be_captured_goes_without_a_graph(graph_model, expected, recwarn):
    model, captured = graph_model
    decoder = model.language_model.decoder
    hook = decoder.register_forward_pre_hook(fail_in_capture, with_kwargs=True)
    for _ in range(2):
        assert generate(model, prompts_of(model), MOST_TOKENS)[0] == expected
    hook.remove()
    assert len(captured) == 1
    assert len([one for one in recwarn if "can't be captured" in str(one.message)]) == 1


def test_compiled_layers_generate_uncompiled(cpu_model, expected, kit, folder):
    model = closing_at(load_tiny_model(folder, family=kit.family).model, ())
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch.compiler.reset()  # one process rarely compiles several models
    compile_layers(model, backend)
    number = len(graphs)
    assert number > 0
    assert generate(model, prompts_of(model), MOST_TOKENS)[0] == expected
    assert len(graphs) == number


def wait_for_a_value(module, args, kwargs):
    assert kwargs["position_ids"].max().item() >= 0


def fail_in_capture(module, args, kwargs):
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("operation not permitted")


@pytest.mark.parametrize("gpu_model", GPUS, indirect=True)
def test_out_of_memory_in_a_capture_is_the_batchs(graph_model, expected, monkeypatch):
    """Which is halved then; the next batch is captured."""
    model, captured = graph_model
    with monkeypatch.context() as patch:
        patch.setattr(cuda_graphs, "_capture", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            generate(model, prompts_of(model), MOST_TOKENS)
    assert generate(model, prompts_of(model), MOST_TOKENS)[0] == expected
    assert len(captured) == 1


def out_of_memory(graph, step, device):
    raise torch.OutOfMemoryError


@pytest.mark.parametrize("gpu_model", ["simulated"], indirect=True)
def test_layers_with_a_sliding_window_go_without_a_graph(gpu_model):
    """Their cache counts tokens on the host."""
    model, captured = gpu_model
    sliding = with_sliding_window(model)
    tokens, _ = generate(sliding, prompts_of(model), MOST_TOKENS)
    assert not captured
    grown = GreedyDecoding(sliding, prompts_of(model), MOST_TOKENS, has_static_cache=False)
    with torch.inference_mode():
        grown.prefill()
        for _ in range(MOST_TOKENS - 1):
            grown.step()
    assert tokens == grown.chosen.tolist()
