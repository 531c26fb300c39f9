"""Prepare questions about encoded recordings: prompts, query embeddings, and the features that methods need.

All that is the same whichever method prunes is made here, once: a sweep answers one question by many methods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from speechprune.inference.prompts import (
    Prompt,
    choice_orders,
    letter_token_ids,
    moved_order,
    prompt_of,
)
from speechprune.inference.timing import SecondsByName, Timer
from speechprune.inference.types import AnsweringOptions, Item
from speechprune.models.base import SpeechModel
from speechprune.pruning import FeatureInputs, PruningMethod
from speechprune.pruning.base import features_of
from speechprune.pruning.transfers import upload


@dataclass(frozen=True)
class PreparedQuery:
    """An item as it is put to the model."""

    item: Item  # the question, its choices and the encoded recording
    prompts: list[Prompt]  # one, or one per order of the choices
    # of each prompt: entry j is the choice that stands at letter j; empty for an open-ended question
    orders: list[list[int]]
    # number of the order that only checks whether the answer depends on the letters; None without
    check_order: int | None
    query_embeds: torch.Tensor  # T, shape ``(L, D)``
    frame_starts: torch.Tensor  # the recording's, on the device of its embeddings
    features: Mapping[str, Any]  # values of all features that the methods need, by name
    # this question's even share of the time that each feature took, by name
    feature_seconds: Mapping[str, float]

    @property
    def answer_orders(self) -> list[int]:
        """Numbers of the orders that make the answer."""
        return [number for number in range(len(self.orders)) if number != self.check_order]


def prepare_queries(
    model: SpeechModel, items: Sequence[Item], methods: Sequence[PruningMethod], options: AnsweringOptions
) -> list[PreparedQuery | Exception]:
    """Prepare items for any of the methods.

    - ``items``: any mix; items whose ``audio`` is the same object share the features' computation.
    - ``methods``: all that will prune for these questions: the features that they need are computed.

    Returns one prepared query per item, in order, or the exception that it raised.
    """
    prepared: dict[int, PreparedQuery | Exception] = {}
    by_recording: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_recording[id(item.audio)].append(index)
    for indices in by_recording.values():
        prompts: dict[int, list[Prompt]] = {}
        for index in indices:
            try:
                prompts[index] = _build_prompts(model, items[index], options)
            except Exception as error:  # a PromptError, or text that the tokenizer refuses
                prepared[index] = error
        try:
            own = {index: items[index] for index in prompts}
            prepared |= _prepare_recording(model, own, prompts, methods, options)
        except Exception as error:  # out of memory, say: this recording's questions fail, the others go on
            prepared |= dict.fromkeys(prompts, error)
    return [prepared[index] for index in range(len(items))]


@torch.inference_mode()
def _prepare_recording(
    model: SpeechModel,
    items: dict[int, Item],
    prompts: dict[int, list[Prompt]],
    methods: Sequence[PruningMethod],
    options: AnsweringOptions,
) -> dict[int, PreparedQuery]:
    """Prepare the questions of one recording, whose features are computed together."""
    if not items:
        return {}
    audio = next(iter(items.values())).audio
    query_ids = [prompts[index][0].query_ids(options.query_text) for index in items]
    embeds = model.embed_tokens([token_id for own in query_ids for token_id in own])
    queries = embeds.split([len(own) for own in query_ids])
    frame_starts = upload(audio.frame_starts, audio.embeds.device)
    inputs = FeatureInputs(audio.embeds, queries, query_ids, model.shape.token_rate)
    values: dict[str, Sequence[Any]] = {}
    timers: dict[str, Timer] = {}
    for feature in features_of(methods):
        timers[feature.name] = Timer(model.device, len(items))
        values[feature.name] = feature.compute(inputs)
        timers[feature.name].stop()
    feature_seconds = SecondsByName(timers)
    return {
        index: PreparedQuery(
            item=item,
            prompts=prompts[index],
            orders=_orders(item, options),
            check_order=options.permute_choices if item.choices and options.permuted_check else None,
            query_embeds=T,
            frame_starts=frame_starts,
            features={name: own[number] for name, own in values.items()},
            feature_seconds=feature_seconds,
        )
        for number, ((index, item), T) in enumerate(zip(items.items(), queries, strict=True))
    }


def _build_prompts(model: SpeechModel, item: Item, options: AnsweringOptions) -> list[Prompt]:
    if item.choices is not None and not options.by_texts:
        letter_token_ids(model.tokenizer, len(item.choices))  # or this item can't be scored
    return [
        prompt_of(
            model, item.question, None if item.choices is None else [item.choices[i] for i in order], options
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
