"""The LLM's losses against Hugging Face's own forward of each question alone, with eager attention."""

import random

import numpy as np
import pytest
import torch
from torch.nn import functional

from speechprune.lab.training import language_model
from speechprune.lab.training.language_model import (
    FACT_LAYER,
    OPTION_LAYER,
    PROBE_SCALE,
    LanguageObjective,
    draw_pack,
)
from speechprune.lab.training.packing import IGNORED, Packer


@pytest.fixture
def packer(processor, table) -> Packer:
    return Packer(processor, processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>"), table)


@pytest.fixture
def objective(model) -> LanguageObjective:
    torch.manual_seed(2)
    return LanguageObjective(model.model.language_model, model.lm_head)


@pytest.fixture
def pack(packer, contexts):
    rng = random.Random(4)
    return packer.pack(
        [
            (context, [(asked.shuffled(rng), number != 2) for number, asked in enumerate(context.asked)])
            for context in contexts[:2]
        ]
    )


def rows_alone(pack):
    """Each question's tokens out of the pack, in order: what the answering token sees, then the rest."""
    for number in range(len(pack.answering)):
        row, token, *spans = pack.answering[number].tolist()
        last = token
        while last + 1 < pack.mask.shape[-1] and pack.mask[row, 0, last + 1, token]:
            last += 1
        yield number, row, pack.mask[row, 0, last].nonzero().flatten(), token, spans


@pytest.fixture
def plain(model, pack):
    """Attention, states and logits of every question by itself, from Hugging Face's eager attention."""
    model.set_attn_implementation("eager")
    computed = []
    with torch.inference_mode():
        for number, row, places, token, spans in rows_alone(pack):
            output = model(
                inputs_embeds=pack.embeds[row, places][None],
                output_attentions=True,
                output_hidden_states=True,
            )
            computed.append((number, row, places.tolist(), token, spans, output))
    model.set_attn_implementation("sdpa")
    return computed


@torch.inference_mode()
def test_letters_words_and_accuracy(objective, pack, plain):
    parts = objective.loss(pack)
    letters, words, hits = [], [], []
    for _, row, places, _, _, output in plain:
        log_p = output.logits[0].double().log_softmax(-1)
        for place, position in enumerate(places):
            label = int(pack.labels[row, position])
            if label != IGNORED:
                (letters if pack.is_letter[row, position] else words).append(-float(log_p[place, label]))
                if pack.is_letter[row, position]:
                    hits.append(int(log_p[place].argmax()) == label)
    assert len(letters) == 6
    assert float(parts["letters"]) == pytest.approx(np.mean(letters), rel=1e-4)
    assert float(parts["words"]) == pytest.approx(np.mean(words), rel=1e-4)
    assert float(parts["accuracy"]) == pytest.approx(np.mean(hits))


@torch.inference_mode()
def test_where_the_guided_heads_look(objective, pack, plain):
    parts = objective.loss(pack)
    facts, options = [], []
    for _, _, places, token, (begin, end, option_begin, option_end), output in plain:
        at = places.index(token)
        inside = [begin <= place < end for place in places]
        looked = output.attentions[FACT_LAYER][0, 0, at][torch.tensor(inside)].double().sum()
        facts.append(-float(looked.log()))
        if option_end:
            inside = [option_begin <= place < option_end for place in places]
            looked = output.attentions[OPTION_LAYER][0, 0, at][torch.tensor(inside)].double().sum()
            options.append(-float(looked.log()))
    assert len(facts) == 8
    assert len(options) == 6
    assert float(parts["facts"]) == pytest.approx(np.mean(facts), rel=1e-3)
    assert float(parts["options"]) == pytest.approx(np.mean(options), rel=1e-3)


@torch.inference_mode()
def test_what_the_probes_read(objective, model, pack, plain):
    """Subject and value, from the guided heads' query of the answering token and their keys of the spans."""
    parts = objective.loss(pack)
    table = functional.normalize(model.get_input_embeddings().weight, dim=1)

    def missed(probed: torch.Tensor, wanted: torch.Tensor) -> float:
        return float(functional.cross_entropy(PROBE_SCALE * table @ probed / probed.norm(), wanted))

    def read(layer: int, output, place: int, projection: str) -> torch.Tensor:
        block = model.model.language_model.layers[layer]
        states = block.input_layernorm(output.hidden_states[layer][0, place])
        return getattr(block.self_attn, projection)(states)[: block.self_attn.head_dim]

    subjects, values = [], []
    for number, _, places, token, (begin, end, _, option_end), output in plain:
        for place, projection in ((token, "q_proj"), (begin, "k_proj"), (end - 1, "k_proj")):
            probed = objective.subject_probe(read(FACT_LAYER, output, places.index(place), projection))
            for word, wanted in zip(probed.view(2, -1), pack.subjects[number], strict=True):
                subjects.append(missed(word, wanted))
        for place, projection in ((token, "q_proj"), (option_end - 1, "k_proj")):
            if place >= 0:
                probed = objective.value_probe(read(OPTION_LAYER, output, places.index(place), projection))
                values.append(missed(probed, pack.values[number]))
    assert float(parts["subjects"]) == pytest.approx(np.mean(subjects), rel=1e-4)
    assert float(parts["values"]) == pytest.approx(np.mean(values), rel=1e-4)


def test_guidance_trains_its_layers_and_leaves_the_embeddings(objective, pack):
    parts = objective.loss(pack)
    (parts["facts"] + parts["options"]).backward()
    layers = objective.language_model.layers
    guided = slice(0, layers[0].self_attn.head_dim)
    for layer in (FACT_LAYER, OPTION_LAYER):
        gradient = layers[layer].self_attn.q_proj.weight.grad
        assert gradient[guided].abs().max() > 0
    assert objective.language_model.embed_tokens.weight.grad is None
    assert objective.lm_head.weight.grad is None
    # the other heads of the last guided layer are evidence nothing
    assert layers[OPTION_LAYER].self_attn.k_proj.weight.grad[guided.stop :].abs().max() == 0


def test_a_pack_has_about_the_tokens_asked_for_and_both_kinds_of_questions(packer, contexts):
    drawn = []

    def draw(rng, generator):
        drawn.append(rng.choice(contexts))
        return drawn[-1]

    pack = draw_pack(draw, packer, batch_tokens=3000, key="some objective 0 7")
    num_tokens = sum(len(context.embeds) for context in drawn) + language_model.QUESTION_TOKENS * sum(
        len(context.asked) for context in drawn
    )
    longest = max(len(context.embeds) + 200 for context in contexts)
    assert 3000 <= num_tokens < 3000 + longest + 4 * language_model.QUESTION_TOKENS
    with_choices = pack.answering[:, 5] > 0
    assert 0.5 < with_choices.float().mean() < 1
    again = draw_pack(draw, packer, batch_tokens=3000, key="some objective 0 7")
    assert torch.equal(again.embeds, pack.embeds)
    assert torch.equal(again.labels, pack.labels)
    other = draw_pack(draw, packer, batch_tokens=3000, key="some objective 0 8")
    assert other.labels.shape != pack.labels.shape or not torch.equal(other.labels, pack.labels)
