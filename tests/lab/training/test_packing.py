"""Questions packed behind one context compute what each computes alone, in Hugging Face's own forward."""

import random

import numpy as np
import pytest
import torch

from speechprune.inference.prompts import LETTERS, PromptFormat
from speechprune.lab.training.contexts import Context, ContextQuestion
from speechprune.lab.training.packing import IGNORED, Packer


@pytest.fixture
def packer(processor, table) -> Packer:
    return Packer(processor, processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>"), table)


def prompt_ids(processor, asked: ContextQuestion, with_choices: bool) -> tuple[list[int], list[int]]:
    """What stands before and behind the audio: the processor's own template around the worded question."""
    text = asked.question
    if with_choices:
        lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, asked.choices, strict=False)]
        text = PromptFormat().prompt.format(question=asked.question, choices="\n".join(lines))
    content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": text}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    before, behind = chat.split("<|AUDIO|>")
    return tuple(processor.tokenizer.encode(part, add_special_tokens=False) for part in (before, behind))


def answer_ids(processor, asked: ContextQuestion, with_choices: bool) -> list[int]:
    text = asked.answer if with_choices else asked.choices[LETTERS.index(asked.answer)]
    return [*processor.tokenizer.encode(text, add_special_tokens=False), processor.tokenizer.eos_token_id]


def alone(processor, table, context: Context, asked: ContextQuestion, with_choices: bool) -> torch.Tensor:
    """The whole prompt of one question, and its answer but for the closing token; ``(1, tokens, D)``."""
    before, behind = prompt_ids(processor, asked, with_choices)
    answer = answer_ids(processor, asked, with_choices)
    audio = torch.from_numpy(context.embeds)
    return torch.cat([table[before], audio, table[behind + answer[:-1]]])[None]


@pytest.fixture
def items(contexts):
    """Rows of different lengths, one of a single question, the others with both kinds of questions."""
    rng = random.Random(1)
    items = [
        (context, [(asked.shuffled(rng), number % 3 != 1) for number, asked in enumerate(context.asked)])
        for context in contexts[:3]
    ]
    items[1] = (items[1][0], items[1][1][:1])
    return items


@torch.inference_mode()
def test_packed_questions_compute_what_they_compute_alone(model, packer, processor, table, items):
    pack = packer.pack(items)
    states = model.model.language_model(
        inputs_embeds=pack.embeds,
        position_ids=pack.positions,
        attention_mask={"full_attention": pack.mask},
        use_cache=False,
    ).last_hidden_state
    packed = model.lm_head(states)
    number = 0
    for row, (context, questions) in enumerate(items):
        for asked, with_choices in questions:
            inputs = alone(processor, table, context, asked, with_choices)
            expected = model(inputs_embeds=inputs).logits[0]
            answer = answer_ids(processor, asked, with_choices)
            begin = int(pack.answering[number, 1])
            assert pack.answering[number, 0] == row
            places = slice(begin, begin + len(answer))
            torch.testing.assert_close(packed[row, places], expected[-len(answer) :], atol=1e-4, rtol=1e-4)
            assert pack.labels[row, places].tolist() == answer
            assert pack.is_letter[row, places].tolist() == [with_choices, *[False] * (len(answer) - 1)]
            number += 1
    assert number == len(pack.answering)
    # nothing else is asked of the model
    num_answer_tokens = sum(len(answer_ids(processor, *question)) for _, some in items for question in some)
    assert (pack.labels != IGNORED).sum() == num_answer_tokens
    assert pack.is_letter.sum() == sum(with_choices for _, some in items for _, with_choices in some)


@torch.inference_mode()
def test_other_questions_and_other_rows_change_nothing(model, packer, items):
    """The oracle's tolerance aside: what a question computes alone in a pack and among others."""
    context, questions = items[0]

    def answering_logits(pack, number):
        states = model.model.language_model(
            inputs_embeds=pack.embeds,
            position_ids=pack.positions,
            attention_mask={"full_attention": pack.mask},
            use_cache=False,
        ).last_hidden_state
        row, token = pack.answering[number, :2]
        return model.lm_head(states[row, token])

    last = len(questions) - 1
    among = answering_logits(packer.pack(items), last)
    by_itself = answering_logits(packer.pack([(context, questions[last:])]), 0)
    torch.testing.assert_close(among, by_itself, atol=1e-4, rtol=1e-4)
    elsewhere = answering_logits(packer.pack([(items[1][0], questions[last:])]), 0)
    assert (among - elsewhere).abs().max() > 0.01


def test_ids_are_those_of_the_answering_path(packer, processor, items):
    for _, questions in items:
        for asked, with_choices in questions:
            before, behind, answer, _ = packer.question_ids(asked, with_choices)
            assert (before, behind) == prompt_ids(processor, asked, with_choices)
            assert answer == answer_ids(processor, asked, with_choices)


def test_spans_point_at_the_evidence_tokens_and_the_right_option(packer, processor, table, items):
    pack = packer.pack(items)
    number = 0
    for context, questions in items:
        for asked, with_choices in questions:
            row, token, begin, end, option_begin, option_end = pack.answering[number].tolist()
            evidence = context.embeds[slice(*asked.evidence_tokens)]
            assert np.array_equal(pack.embeds[row, begin:end].numpy(), evidence)
            assert pack.mask[row, 0, token, begin:end].all()
            answer = asked.choices[LETTERS.index(asked.answer)]
            if with_choices:
                option = processor.tokenizer.encode(f"{asked.answer}. {answer}", add_special_tokens=False)
                assert torch.equal(pack.embeds[row, option_begin:option_end], table[option])
                assert pack.mask[row, 0, token, option_begin:option_end].all()
            else:
                assert (option_begin, option_end) == (0, 0)
            words = processor.tokenizer.convert_ids_to_tokens(
                [*pack.subjects[number].tolist(), pack.values[number].item()]
            )
            assert " ".join(words[:2]) in asked.question.lower()
            assert words[2] == answer.lower()
            number += 1
