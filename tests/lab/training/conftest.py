"""A small blank model with the grammar's own tokenizer, as the training begins with."""

import copy
import random
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.lab.training import word_table
from speechprune.lab.training.blank_model import make_model, make_processor
from speechprune.lab.training.config import ModelSize
from speechprune.lab.training.contexts import Context, Simulator
from speechprune.lab.training.corpus import plan_recording
from speechprune.lab.training.word_table import make_word_table

SMALL = ModelSize(
    encoder_hidden_size=32,
    encoder_layers=2,
    encoder_heads=2,
    encoder_ffn_size=64,
    hidden_size=64,
    intermediate_size=96,
    layers=4,
    heads=4,
)


@pytest.fixture(scope="session")
def size() -> ModelSize:
    return SMALL


@pytest.fixture(scope="session")
def processor() -> Qwen2AudioProcessor:
    return make_processor(SMALL)


@pytest.fixture(scope="session")
def table(processor) -> torch.Tensor:
    """Of ``word_table``; the blank has the row of the audio placeholder."""
    tokenizer = processor.tokenizer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_table, "SPREADING_STEPS", 20)
        return make_word_table(
            len(tokenizer), SMALL.hidden_size, tokenizer.convert_tokens_to_ids("<|AUDIO|>"), seed=0
        )


@pytest.fixture(scope="session")
def untouched_model(processor, table) -> Qwen2AudioForConditionalGeneration:
    """Float32 with seeded random weights wide enough that every token moves the logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make_model(SMALL, processor.tokenizer)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    model.get_input_embeddings().weight.data.copy_(table)
    return model.eval()


@pytest.fixture
def model(untouched_model) -> Qwen2AudioForConditionalGeneration:
    """A copy to train."""
    return copy.deepcopy(untouched_model)


@pytest.fixture(scope="session")
def simulator(processor, table) -> Simulator:
    tokenizer = processor.tokenizer
    return Simulator(
        table.numpy(), tokenizer.convert_tokens_to_ids("<|AUDIO|>"), tokenizer.convert_tokens_to_ids
    )


@pytest.fixture(scope="session")
def contexts(simulator) -> list[Context]:
    """Simulated recordings of half a minute with their questions."""
    writer, rng = GrammarWriter(), random.Random(2)
    plans = [plan_recording(rng, place, 25.0, "test") for place in writer.topics()[::7]]
    return [simulator.simulate(writer.write(plan), np.random.default_rng(3)) for plan in plans]


class OneAfterAnother:
    """A pool without processes."""

    def __init__(self, **_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        job = Future()
        job.set_result(function(*arguments))
        return job


@pytest.fixture(scope="session")
def one_process() -> type[OneAfterAnother]:
    """In place of the pool that renders speech: starting a process takes longer than what is rendered."""
    return OneAfterAnother
