"""Compiled layers answer as before; where nothing can be compiled, one sentence says so."""

import numpy as np
import pytest
import torch

from speechprune import SpeechLM
from speechprune.models.base import SplicedPrompt
from speechprune.models.compilation import compile_layers
from speechprune.models.hub import ModelError
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from tests.helpers.tiny_models import load_tiny_model

QUESTIONS = [
    ("Where do they meet?", ["In the garden", "At the office"]),
    ("Who speaks of it?", ["Ann", "Bo", "Cy"]),
]


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    torch.compiler.reset()


def answers(lm: SpeechLM, samples: np.ndarray) -> list[tuple[str, list[float]]]:
    audio = lm.encode_many([samples])[0]
    given = lm.answer_many([(audio, question, choices) for question, choices in QUESTIONS])
    return [(answer.prediction, answer.choice_probabilities) for answer in given]


def test_answers_are_those_of_the_layers_as_loaded(tiny_model_folder, tiny_lm, speech):
    samples = speech(45.0)
    compiled = load_tiny_model(tiny_model_folder)
    compile_layers(compiled.model, "aot_eager")
    for (letter, shares), (expected, expected_shares) in zip(
        answers(compiled, samples), answers(tiny_lm, samples), strict=True
    ):
        assert letter == expected
        assert shares == pytest.approx(expected_shares, abs=1e-5)


def test_prompts_of_any_number_and_length_need_no_further_compilation(tiny_model_folder):
    """The warm-up has two sizes of each: torch makes code for any at the second."""
    lm = load_tiny_model(tiny_model_folder)
    shapes: list[torch.Size] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        shapes.extend(value.shape for value in inputs if isinstance(value, torch.Tensor) and value.dim() == 3)
        return graph

    compile_layers(lm.model, backend)
    number = len(shapes)
    for count, length in ((2, 64), (4, 33), (7, 120)):
        embeds = torch.zeros(length, lm.model.shape.decoder.hidden_size)
        lm.model.next_token_logits([SplicedPrompt(embeds, [0] * length)] * count)
    assert len(shapes) == number


def test_what_cannot_be_compiled_is_one_sentence(tiny_model_folder, monkeypatch):
    def no_compiler(self, **options):
        self._compiled_call_impl = broken

    def broken(*args, **kwargs):
        raise RuntimeError("Failed to find C compiler.\nMore about it")

    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    with pytest.raises(
        ModelError, match=r"model.compile is true, .* \(Failed to find C compiler\.\): set it to"
    ):
        load_model(ModelOptions(path=tiny_model_folder, compile=True))
