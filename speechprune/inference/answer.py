"""The straight line: prune the encoded audio for a question, splice it into the prompt, answer.

Works on any mix of recordings and questions at once; nothing here knows Ray or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from speechprune.cost import answer_cost
from speechprune.inference.batching import batches_by_tokens, run_in_batches
from speechprune.inference.evidence import EvidenceSpan, find_evidence
from speechprune.inference.prepare import AskedQuestion, ask
from speechprune.inference.prompts import LETTERS, PromptError, letter_token_ids
from speechprune.inference.timing import PeakMemory, Stopwatch
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.qwen2_audio import Qwen2Audio
from speechprune.pruning import PruningInputs, PruningMethod, PruningResult


@dataclass
class _Draft:
    """A question on its way to an answer."""

    asked: AskedQuestion
    pruned: PruningResult
    evidence: list[EvidenceSpan]
    prune_flops: int
    seconds_prune: float
    letter_logits: dict[int, torch.Tensor] = field(default_factory=dict)  # by number of the order
    generated_ids: list[int] = field(default_factory=list)
    seconds_prefill: float = 0.0
    seconds_generate: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def item(self) -> Item:
        return self.asked.item


def answer_items(
    model: Qwen2Audio, items: Sequence[Item], method: PruningMethod, options: AnsweringOptions
) -> list[Answer | Exception]:
    """Answer all items, batching what can be batched.

    Parameters
    ----------
    model
        The adapter.
    items
        Any mix; items whose ``audio`` is the same object share phase 1's product.
    method
        What to prune by.
    options
        Wording, permutation, limits.

    Returns
    -------
    list
        One per item, in order: an ``Answer``, or the exception that this item alone met.
    """
    return answer_questions(model, ask(model, items, [method], options), method, options)


def answer_questions(
    model: Qwen2Audio,
    asked: Sequence[AskedQuestion | Exception],
    method: PruningMethod,
    options: AnsweringOptions,
) -> list[Answer | Exception]:
    """Answer questions that were put to their recordings, by one of the methods they were put for.

    Parameters
    ----------
    model, method, options
        See ``answer_items``.
    asked
        Of ``ask``, with the same options; what met an exception there comes back as that exception.
    """
    outcomes: dict[int, Answer | Exception] = {}
    drafts: dict[int, _Draft] = {}
    for index, question in enumerate(asked):
        if isinstance(question, Exception):
            outcomes[index] = question
            continue
        try:
            drafts[index] = _prune(model, question, method)
            _check_length(model, drafts[index])
        except Exception as error:  # out of memory, say: this question fails, the others go on
            drafts.pop(index, None)
            outcomes[index] = error
    _score_choices(model, {i: d for i, d in drafts.items() if d.item.choices}, outcomes)
    _generate(model, {i: d for i, d in drafts.items() if not d.item.choices}, options, outcomes)
    answered = {index: draft for index, draft in drafts.items() if index not in outcomes}
    num_sharing = Counter(id(draft.item.audio) for draft in answered.values())
    for index, draft in answered.items():
        outcomes[index] = _finish(model, draft, num_sharing[id(draft.item.audio)])
    return [outcomes[index] for index in range(len(asked))]


def _prune(model: Qwen2Audio, asked: AskedQuestion, method: PruningMethod) -> _Draft:
    watch = Stopwatch(model.device)
    audio = asked.item.audio
    inputs = PruningInputs(
        audio_embeds=audio.embeds,
        query_embeds=asked.query_embeds,
        token_scores=asked.token_scores if method.uses_query else None,
        projections=model.projections,
        frame_tokens=model.frame_tokens,
        item_id=asked.item.item_id,
        word_matches=asked.word_matches if method.uses_words else None,
    )
    pruned = method.prune(inputs)
    evidence = (
        find_evidence(inputs.similarity, pruned.kept_indices, audio.times, model.frame_tokens)
        if method.uses_query
        else []
    )
    return _Draft(
        asked=asked,
        pruned=pruned,
        evidence=evidence,
        prune_flops=method.flops(
            model.shape, inputs.num_tokens, len(asked.query_embeds), pruned.num_phase1_tokens
        ),
        seconds_prune=watch.seconds()
        + (asked.seconds_scores if method.uses_query else 0.0)
        + (asked.seconds_words if method.uses_words else 0.0),
    )


def _check_length(model: Qwen2Audio, draft: _Draft) -> None:
    num_tokens = len(draft.pruned.kept_indices) + max(p.num_text_tokens for p in draft.asked.prompts)
    if num_tokens > model.max_prompt_tokens:
        raise PromptError(
            f"a prompt of {num_tokens:,} tokens exceeds the {model.max_prompt_tokens:,} that the model "
            "takes: prune to fewer tokens, or set start and end"
        )


def _splice(model: Qwen2Audio, draft: _Draft, order: int) -> torch.Tensor:
    """``inputs_embeds`` of the pruned prompt: text, the kept audio tokens, text; (tokens, D)."""
    S, prompt = draft.item.audio.embeds, draft.asked.prompts[order]
    kept = torch.from_numpy(draft.pruned.kept_indices).to(S.device)
    return torch.cat([model.embed_tokens(prompt.prefix_ids), S[kept], model.embed_tokens(prompt.suffix_ids)])


def _score_choices(
    model: Qwen2Audio, drafts: dict[int, _Draft], outcomes: dict[int, Answer | Exception]
) -> None:
    """Logits of the choices' letters, one prefill a prompt."""
    jobs = [(index, order) for index, draft in drafts.items() for order in range(len(draft.asked.prompts))]
    for batch in _prompt_batches(model, drafts, jobs):
        watch, memory = Stopwatch(model.device), PeakMemory(model.device)

        def prefill(part: list[tuple[int, int]]) -> list[torch.Tensor]:
            return list(
                model.next_token_logits([_splice(model, drafts[i], order) for i, order in part]).cpu()
            )

        logits = run_in_batches([batch], prefill)
        seconds, peak = watch.seconds() / len(batch), memory.bytes()
        for (index, order), row in zip(batch, logits, strict=True):
            if isinstance(row, Exception):
                outcomes[index] = row
                continue
            draft = drafts[index]
            assert draft.item.choices is not None
            letters = letter_token_ids(model.tokenizer, len(draft.item.choices))
            draft.letter_logits[order] = row[letters]
            if order != draft.asked.check_order:  # of which no cost column tells
                draft.seconds_prefill += seconds
            draft.peak_memory_bytes = max(draft.peak_memory_bytes, peak)


def _generate(
    model: Qwen2Audio,
    drafts: dict[int, _Draft],
    options: AnsweringOptions,
    outcomes: dict[int, Answer | Exception],
) -> None:
    """Greedy text for the open-ended items."""
    jobs = [(index, 0) for index in drafts]
    for batch in _prompt_batches(model, drafts, jobs):
        watch, memory = Stopwatch(model.device), PeakMemory(model.device)
        seconds_prefill = 0.0

        def generate(part: list[tuple[int, int]]) -> list[list[int]]:
            nonlocal seconds_prefill
            begun = Stopwatch(model.device)
            prompts = [_splice(model, drafts[i], order) for i, order in part]
            token_ids, first_token = model.generate(prompts, options.max_new_tokens)
            seconds_prefill += begun.seconds_until(first_token)
            return token_ids

        generated = run_in_batches([batch], generate)
        seconds, peak = watch.seconds(), memory.bytes()
        for (index, _), token_ids in zip(batch, generated, strict=True):
            if isinstance(token_ids, Exception):
                outcomes[index] = token_ids
                continue
            draft = drafts[index]
            draft.generated_ids = token_ids
            draft.seconds_prefill = seconds_prefill / len(batch)
            draft.seconds_generate = (seconds - seconds_prefill) / len(batch)
            draft.peak_memory_bytes = peak


def _prompt_batches(
    model: Qwen2Audio, drafts: dict[int, _Draft], jobs: list[tuple[int, int]]
) -> list[list[tuple[int, int]]]:
    """Batches of (item, number of its prompt) by the model's token budget."""
    lengths = [
        drafts[i].asked.prompts[order].num_text_tokens + len(drafts[i].pruned.kept_indices)
        for i, order in jobs
    ]
    return [[jobs[j] for j in batch] for batch in batches_by_tokens(lengths, model.prefill_batch_tokens)]


def _finish(model: Qwen2Audio, draft: _Draft, num_sharing: int) -> Answer:
    """The answer; of the encoding it bears one share, as do the recording's other answers of this call."""
    choices, asked = draft.item.choices, draft.asked
    probabilities: list[float] | None = None
    permuted_prediction: str | None = None
    if choices is not None:
        mean = _mean_over(draft, asked.asking_orders)
        best = int(np.argmax(mean))
        prediction, text, probabilities = LETTERS[best], choices[best], mean.tolist()
        if asked.check_order is not None:
            permuted_prediction = LETTERS[int(np.argmax(_mean_over(draft, [asked.check_order])))]
    else:
        text = model.tokenizer.decode(draft.generated_ids, skip_special_tokens=True).strip()
        prediction = text
    audio = draft.item.audio
    num_text_tokens = asked.prompts[0].num_text_tokens
    return Answer(
        prediction=prediction,
        prediction_text=text,
        permuted_prediction=permuted_prediction,
        choice_probabilities=probabilities,
        kept_indices=draft.pruned.kept_indices,
        evidence=draft.evidence,
        num_audio_tokens=len(audio.embeds),
        num_phase1_tokens=draft.pruned.num_phase1_tokens,
        num_text_tokens=num_text_tokens,
        num_generated_tokens=len(draft.generated_ids),
        cost=answer_cost(
            model.shape,
            num_audio_tokens_kept=len(draft.pruned.kept_indices),
            num_text_tokens=num_text_tokens,
            encode_flops=audio.num_encoder_flops / num_sharing,
            prune_flops=draft.prune_flops,
            num_generated_tokens=len(draft.generated_ids),
            num_prefills=len(asked.asking_orders),
        ),
        seconds_encode=audio.seconds_encode / num_sharing,
        seconds_prune=draft.seconds_prune,
        seconds_prefill=draft.seconds_prefill,
        seconds_generate=draft.seconds_generate,
        peak_memory_bytes=draft.peak_memory_bytes,
    )


def _mean_over(draft: _Draft, numbers: Sequence[int]) -> np.ndarray:
    """Probability of each choice, averaged over some of the orders in which the choices were put."""
    assert draft.item.choices is not None
    total = np.zeros(len(draft.item.choices))
    for number in numbers:
        total[draft.asked.orders[number]] += torch.softmax(
            draft.letter_logits[number].double(), dim=0
        ).numpy()
    return total / len(numbers)
