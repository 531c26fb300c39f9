"""Tokenizer, processor and modules before training, and as they are saved."""

import copy
import itertools
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoProcessor, AutoTokenizer, Qwen2AudioForConditionalGeneration

from speechprune.benchmarks.builder.grammar import load_grammar, vocabulary
from speechprune.inference.prompts import LETTERS, PromptFormat
from speechprune.lab.training.blank_model import (
    SPECIAL_TOKENS,
    UNKNOWN,
    make_model,
    make_processor,
    make_tokenizer,
    sinusoids,
)
from speechprune.lab.training.config import ModelSize
from speechprune.lab.training.train import save_checkpoint

TOKENIZER = make_tokenizer()
QUESTION = "When is the security review?"
CHOICES = ["Monday", "Friday", "Sunday", "Tuesday"]


def ids_of(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def wording(question: str, choices: list[str]) -> str:
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return PromptFormat().prompt.format(question=question, choices=lines)


def chat(processor, text: str) -> str:
    content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )


def test_every_word_of_the_grammar_is_one_token_of_its_own_in_either_case():
    words = vocabulary()
    tokens = [ids_of(word) for word in words]
    assert all(len(ids) == 1 for ids in tokens)
    assert len({ids[0] for ids in tokens}) == len(words)
    assert TOKENIZER.unk_token_id not in {ids[0] for ids in tokens}
    for word, ids in zip(words, tokens, strict=True):
        if len(word) > 1:
            assert ids_of(word.capitalize()) == ids


def test_single_capitals_are_letters_of_choices_and_the_article_is_none():
    letters = [ids_of(letter) for letter in string.ascii_uppercase]
    assert all(len(ids) == 1 for ids in letters)
    assert len({ids[0] for ids in letters} | {TOKENIZER.unk_token_id}) == 27
    assert ids_of("a") != ids_of("A")
    assert ids_of("I") == [TOKENIZER.convert_tokens_to_ids("I")]
    for letter, ids in zip(string.ascii_uppercase, letters, strict=True):
        assert ids_of(f"{letter}. Monday") == [*ids, *ids_of("."), *ids_of("monday")]
        assert ids_of(f"The answer is {letter}")[-1] == ids[0]


@given(words=st.lists(st.sampled_from(vocabulary()), min_size=1, max_size=8), mark=st.sampled_from(".,?!:;"))
def test_a_sentence_is_the_tokens_of_its_words(words, mark):
    sentence = " ".join(words) + mark
    written = sentence if words[0] in {"I", "a"} else sentence.capitalize().replace(" i ", " I ")
    if "I" in words:
        written = sentence
    expected = [token_id for word in words for token_id in ids_of(word)]
    assert ids_of(written) == [*expected, *ids_of(mark)]


@pytest.mark.parametrize("word", ["zebra", "Zebra", "42", "naïve", "日本"])
def test_other_words_are_unknown(word):
    assert ids_of(f"the {word} is") == [
        *ids_of("the"),
        TOKENIZER.convert_tokens_to_ids(UNKNOWN),
        *ids_of("is"),
    ]


def test_no_prompt_about_the_grammar_holds_an_unknown_token(processor):
    for grammar in load_grammar().values():
        [(_, modifiers), *_] = grammar.modifiers.items()
        for relation, question in itertools.chain.from_iterable(
            ((r, q) for q in r.questions) for r in grammar.relations.values()
        ):
            text = wording(
                question.format(subject=f"{modifiers[0]} {relation.heads[0]}"), relation.values[:4]
            )
            ids = processor.tokenizer.encode(chat(processor, text), add_special_tokens=False)
            assert processor.tokenizer.unk_token_id not in ids
            assert ids.count(processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>")) == 1


def test_special_tokens_are_one_token_each_and_found_in_running_text():
    for number, token in enumerate(SPECIAL_TOKENS):
        assert ids_of(f"the{token}is") == [*ids_of("the"), number, *ids_of("is")]


def test_tokenizer_and_processor_survive_saving(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded.tokenizer.get_vocab() == TOKENIZER.get_vocab()
    text = chat(processor, wording(QUESTION, CHOICES))
    assert chat(loaded, wording(QUESTION, CHOICES)) == text
    for tokenizer in (loaded.tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        for sample in (text, "Um, I MEAN the A and a Zebra.", *vocabulary()):
            assert tokenizer.encode(sample, add_special_tokens=False) == ids_of(sample)
        assert tokenizer.eos_token_id == TOKENIZER.eos_token_id
    samples = torch.randn(16_000, generator=torch.Generator().manual_seed(0)).numpy()
    features, again = (
        p.feature_extractor(samples, sampling_rate=16_000, return_tensors="pt")["input_features"]
        for p in (processor, loaded)
    )
    assert features.shape == (1, 80, 3000)
    assert torch.equal(features, again)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The demo model's size, untrained, as it is shipped; and the same weights, never saved."""
    folder = tmp_path_factory.mktemp("blank")
    processor = make_processor(ModelSize())
    torch.manual_seed(0)
    model = make_model(ModelSize(), processor.tokenizer)
    save_checkpoint(copy.deepcopy(model), processor, folder)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return folder, model


def test_the_default_size_is_that_of_the_shipped_model(saved):
    folder, model = saved
    assert 4.5e6 < sum(parameter.numel() for parameter in model.parameters()) < 5e6
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 10e6


def test_a_saved_model_loads_with_plain_from_pretrained_and_says_the_same(saved):
    folder, model = saved
    loaded, report = Qwen2AudioForConditionalGeneration.from_pretrained(
        folder, dtype="auto", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert loaded.dtype == torch.bfloat16
    assert loaded.generation_config.eos_token_id == TOKENIZER.eos_token_id
    processor = AutoProcessor.from_pretrained(folder)
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    ids = processor.tokenizer.encode(chat(processor, wording(QUESTION, CHOICES)), add_special_tokens=False)
    place = ids.index(loaded.config.audio_token_id)
    expanded = ids[:place] + [loaded.config.audio_token_id] * 750 + ids[place + 1 :]
    inputs = {
        "input_ids": torch.tensor([expanded]),
        "input_features": mel,
        "feature_attention_mask": torch.ones(1, 3000, dtype=torch.long),
    }
    with torch.inference_mode():
        logits, again = (m.eval().float()(**inputs).logits[0, -1] for m in (model, loaded))
    torch.testing.assert_close(logits, again)


def test_positions_are_whispers_sinusoids():
    """Channel c of position p: sine of p / 10,000^(c / (half - 1)), and its cosine half the channels on."""
    made = sinusoids(40, 8)
    for position, channel in itertools.product(range(40), range(4)):
        angle = torch.tensor(position / 10_000 ** (channel / 3))
        assert made[position, channel] == pytest.approx(torch.sin(angle).item(), abs=1e-5)
        assert made[position, channel + 4] == pytest.approx(torch.cos(angle).item(), abs=1e-5)
    model = make_model(ModelSize(hidden_size=8, encoder_hidden_size=8, encoder_layers=1, layers=1), TOKENIZER)
    assert torch.equal(model.model.audio_tower.embed_positions.weight.data, sinusoids(1500, 8))
