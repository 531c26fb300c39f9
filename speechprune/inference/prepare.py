"""Questions put to encoded recordings: all that is the same whichever method prunes.

A sweep answers one question by many methods; prompts and phase 1's scores are made here, once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from speechprune.inference.prompts import Prompt, build_prompt, choice_orders, letter_token_ids, moved_order
from speechprune.inference.timing import Stopwatch
from speechprune.inference.types import AnsweringOptions, Item
from speechprune.models.qwen2_audio import Qwen2Audio
from speechprune.pruning import PruningMethod, WordMatches
from speechprune.pruning.late_interaction import match_words
from speechprune.pruning.phase1 import token_scores


@dataclass(frozen=True)
class AskedQuestion:
    """An item as it is put to the model.

    Parameters
    ----------
    item
        What is asked of what.
    prompts
        One, or one per order of the choices.
    orders
        Of each prompt: entry j is the choice that stands at letter j; empty for an open-ended question.
    check_order
        Number of the order that only checks whether the answer hangs on the letters; None without.
    query_embeds
        T, shape ``(L, D)``.
    token_scores
        Phase 1's, see ``PruningInputs``; None where no method looks at the query.
    word_matches
        Late interaction's; None where no method looks at words.
    seconds_scores, seconds_words
        This question's even share of the time that its recording's scores and word matches took.
    """

    item: Item
    prompts: list[Prompt]
    orders: list[list[int]]
    check_order: int | None
    query_embeds: torch.Tensor
    token_scores: np.ndarray | None
    word_matches: WordMatches | None
    seconds_scores: float
    seconds_words: float

    @property
    def asking_orders(self) -> list[int]:
        """Numbers of the orders that make the answer."""
        return [number for number in range(len(self.orders)) if number != self.check_order]


def ask(
    model: Qwen2Audio, items: Sequence[Item], methods: Sequence[PruningMethod], options: AnsweringOptions
) -> list[AskedQuestion | Exception]:
    """Put items to their recordings.

    Parameters
    ----------
    model
        The adapter.
    items
        Any mix; items whose ``audio`` is the same object share one product.
    methods
        All that will prune for these questions: what they look at is made.
    options
        Wording, query, orders of the choices.

    Returns
    -------
    list
        One per item, in order: the question, or the exception that it met.
    """
    asked: dict[int, AskedQuestion | Exception] = {}
    by_recording: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_recording[id(item.audio)].append(index)
    for indices in by_recording.values():
        prompts: dict[int, list[Prompt]] = {}
        for index in indices:
            try:
                prompts[index] = _build_prompts(model, items[index], options)
            except Exception as error:  # a PromptError, or text that the tokenizer refuses
                asked[index] = error
        try:
            asked |= _put(model, {index: items[index] for index in prompts}, prompts, methods, options)
        except Exception as error:  # out of memory, say: this recording's questions fail, the others go on
            asked |= dict.fromkeys(prompts, error)
    return [asked[index] for index in range(len(items))]


def _put(
    model: Qwen2Audio,
    items: dict[int, Item],
    prompts: dict[int, list[Prompt]],
    methods: Sequence[PruningMethod],
    options: AnsweringOptions,
) -> dict[int, AskedQuestion]:
    """Questions of one recording, whose scores are one product."""
    if not items:
        return {}
    watch = Stopwatch(model.device)
    audio = next(iter(items.values())).audio
    queries = [model.embed_tokens(prompts[index][0].query_ids(options.query_text)) for index in items]
    scores: Sequence[np.ndarray | None] = [None] * len(queries)
    if any(method.uses_query for method in methods):
        scores = list(token_scores(audio.embeds, queries))
    seconds_scores = watch.seconds() / len(items)
    matches: Sequence[WordMatches | None] = [None] * len(queries)
    watch = Stopwatch(model.device)
    if any(method.uses_words for method in methods):
        matches = match_words(audio.embeds, queries, model.frame_tokens)
    seconds_words = watch.seconds() / len(items)
    return {
        index: AskedQuestion(
            item=item,
            prompts=prompts[index],
            orders=_orders(item, options),
            check_order=options.permute_choices if item.choices and options.permuted_check else None,
            query_embeds=T,
            token_scores=s,
            word_matches=words,
            seconds_scores=seconds_scores,
            seconds_words=seconds_words,
        )
        for (index, item), T, s, words in zip(items.items(), queries, scores, matches, strict=True)
    }


def _build_prompts(model: Qwen2Audio, item: Item, options: AnsweringOptions) -> list[Prompt]:
    if item.choices is not None:
        letter_token_ids(model.tokenizer, len(item.choices))  # or this item can't be scored
    return [
        build_prompt(
            item.question,
            None if item.choices is None else [item.choices[i] for i in order],
            wording=options,
            render_chat=model.render_chat,
            tokenizer=model.tokenizer,
            audio_token_id=model.audio_token_id,
        )
        for order in _orders(item, options)
    ]


def _orders(item: Item, options: AnsweringOptions) -> list[list[int]]:
    """Those that make the answer, then the one that checks it."""
    if item.choices is None:
        return [[]]
    num_choices = len(item.choices)
    if options.permute_choices == 1:
        orders = [list(range(num_choices))]
    else:
        orders = choice_orders(num_choices, options.permute_choices, item.item_id)
    return [*orders, moved_order(num_choices, item.item_id)] if options.permuted_check else orders
