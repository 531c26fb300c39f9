"""Prompts of pruned questions, run in batches by the model's token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from speechprune.inference.batching import Result, batches_by_tokens, run_in_batches
from speechprune.inference.prompts import Prompt
from speechprune.inference.prune import Pending
from speechprune.inference.timing import PeakMemory, Timer
from speechprune.inference.types import Answer
from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.models.generation import generate


@dataclass(frozen=True)
class PendingPrompt:
    """One prompt about a pruned question's recording."""

    index: int  # of the question in its call
    pending: Pending
    text: Prompt  # the text around the audio
    kept: torch.Tensor  # numbers of the audio tokens in the prompt
    order: int = 0  # number of the prompt among the question's

    @classmethod
    def of_question(cls, index: int, pending: Pending, order: int = 0) -> Self:
        """The question's own prompt, with the tokens that pruning kept."""
        return cls(index, pending, pending.query.prompts[order], pending.kept, order)

    @property
    def num_tokens(self) -> int:
        """Length of the prompt, with the longest text that runs behind it."""
        return len(self.kept) + self.text.num_text_tokens + self.text.num_answer_tokens


def splice(model: SpeechModel, prompts: Sequence[PendingPrompt]) -> list[SplicedPrompt]:
    """Put the kept audio tokens into their places in the prompts; text tokens are embedded in one call."""
    text_ids = [ids for prompt in prompts for ids in (prompt.text.prefix_ids, prompt.text.suffix_ids)]
    embeds = model.embed_tokens([token_id for ids in text_ids for token_id in ids])
    parts = embeds.split([len(ids) for ids in text_ids])
    spliced = []
    for prompt, prefix, suffix in zip(prompts, parts[::2], parts[1::2], strict=True):
        audio_ids = [model.language_model.audio_token_id] * len(prompt.kept)
        token_ids = [*prompt.text.prefix_ids, *audio_ids, *prompt.text.suffix_ids]
        audio = prompt.pending.item.audio.embeds[prompt.kept]
        spliced.append(SplicedPrompt(torch.cat([prefix, audio, suffix]), token_ids))
    return spliced


def run_prompts(
    model: SpeechModel,
    prompts: Sequence[PendingPrompt],
    run: Callable[[list[PendingPrompt]], list[Result]],
    outcomes: dict[int, Answer | Exception],
    num_new_tokens: int = 0,
) -> Iterator[tuple[PendingPrompt, Result, Timer]]:
    """Run prompts in batches by the model's token budget, in which one counts as often as texts follow it.

    Yields each prompt with its result and the timer of its batch, which shares the seconds out evenly; an
    exception becomes the outcome of the prompt's question.

    ``num_new_tokens``: the most that are generated behind each.
    """
    num_copies = [max(1, len(prompt.text.answer_ids)) for prompt in prompts]
    lengths = [prompt.num_tokens for prompt in prompts]
    switch = model.language_model.rope_switch
    longest_before = None if switch is None else switch - num_new_tokens
    for numbers in batches_by_tokens(lengths, model.prefill_batch_tokens, num_copies, longest_before):
        batch = [prompts[number] for number in numbers]
        timer, memory = Timer(model.device, len(batch)), PeakMemory(model.device)
        results = run_in_batches([batch], run)
        timer.stop()
        peak = memory.bytes()
        for prompt, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                outcomes[prompt.index] = result
                continue
            prompt.pending.peak_memory_bytes = max(prompt.pending.peak_memory_bytes, peak)
            yield prompt, result, timer


def continue_prompts(
    model: SpeechModel,
    prompts: Sequence[PendingPrompt],
    max_new_tokens: int,
    outcomes: dict[int, Answer | Exception],
) -> Iterator[tuple[PendingPrompt, tuple[list[int], float], Timer]]:
    """Generate greedy text behind each prompt; yields its tokens and the seconds of its prefill."""

    def run(batch: list[PendingPrompt]) -> list[tuple[list[int], float]]:
        spliced = splice(model, batch)
        timer = Timer(model.device)
        generated, first_token = generate(model, spliced, max_new_tokens)
        seconds_prefill = timer.seconds_until(first_token) / len(batch)
        return [(token_ids, seconds_prefill) for token_ids in generated]

    return run_prompts(model, prompts, run, outcomes, max_new_tokens)
