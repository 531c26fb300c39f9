"""Length of prompts before a run, from a model's tokenizer and chat template: no weights are loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, get_args

import torch
from loguru import logger

from speechprune import storage
from speechprune.inference.chat_tokens import PromptError
from speechprune.inference.prompts import Prompt, PromptFormat, QueryText, build_prompt
from speechprune.models.hub import fetch_folder
from speechprune.models.loading import parse_config
from speechprune.models.options import ModelOptions
from speechprune.models.source import ModelSource
from speechprune.models.text_model import load_tokenizer

# where a model's own tokenizer or chat template can't be used
CHARACTERS_PER_TOKEN = 4
TEMPLATE_TOKENS = 30

Question = tuple[str, Sequence[str] | None]  # with its choices; None where it is open-ended


@dataclass(frozen=True)
class PromptLengths:
    """Mean lengths of the prompts of some questions, in tokens."""

    num_text: int  # all tokens but the audio's
    num_query: Mapping[QueryText, int]
    choice_lengths: Sequence[int]  # of a question's choices, where those are scored by their texts; else none
    open_share: float  # share of the questions without choices
    is_estimated: bool  # from the number of characters


def prompt_lengths(
    model: ModelOptions, questions: Sequence[Question], wording: PromptFormat
) -> PromptLengths:
    """Measure the prompts of some questions, at least one.

    They are built by the chat template in the model's folder. For families that have none there, or that
    word their chat themselves, the lengths are estimated from the number of characters.
    """
    open_share = fmean(choices is None for _, choices in questions)
    try:
        prompts = _build(model, questions, wording)
        num_text = round(fmean(prompt.num_text_tokens for prompt in prompts))
    except Exception as error:  # whatever a template or a tokenizer of another use raises
        logger.debug("prompts of {} are estimated: {}", model.path, error)
        of_choices = [[_num_tokens(text) for text in choices or ()] for _, choices in questions]
        of_questions = [_num_tokens(question) for question, _ in questions]
        num_words = round(fmean(of_questions) + fmean(map(sum, of_choices)))
        return PromptLengths(
            num_text=num_words + TEMPLATE_TOKENS,
            num_query={"question": round(fmean(of_questions)), "question_and_choices": num_words},
            choice_lengths=_typical(of_choices) if wording.by_texts else [],
            open_share=open_share,
            is_estimated=True,
        )
    kinds: tuple[QueryText, ...] = get_args(QueryText)
    return PromptLengths(
        num_text=num_text,
        num_query={kind: round(fmean(len(prompt.query_ids(kind)) for prompt in prompts)) for kind in kinds},
        choice_lengths=_typical([[len(ids) for ids in prompt.answer_ids] for prompt in prompts]),
        open_share=open_share,
        is_estimated=False,
    )


def _build(model: ModelOptions, questions: Sequence[Question], wording: PromptFormat) -> list[Prompt]:
    _, config = parse_config(model.path, model.revision, model.family)
    remote = storage.is_remote(model.path)
    folder = fetch_folder(model.path, small_files_only=True) if remote else model.path
    tokenizer = load_tokenizer(
        ModelSource(options=model, config=config, folder=folder, device="cpu", dtype=torch.float32)
    )

    def render_chat(user_text: str) -> str:
        content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": user_text}]
        chat: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return str(chat)

    prompts = []
    for question, choices in questions:
        with contextlib.suppress(PromptError):  # it will be a failed row
            prompts.append(
                build_prompt(
                    question,
                    choices,
                    wording=wording,
                    render_chat=render_chat,
                    tokenizer=tokenizer,
                    audio_token_id=config.audio_token_id,
                )
            )
    return prompts


def _num_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _typical(lengths: Sequence[Sequence[int]]) -> list[int]:
    """As many choices as the questions with choices have on average, each of the mean length."""
    own = [some for some in lengths if some]
    return [round(fmean(map(fmean, own)))] * round(fmean(map(len, own))) if own else []
