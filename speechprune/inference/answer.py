"""Answer questions about encoded recordings: prune for a question, splice into the prompt, score or generate.

Works on any mix of recordings and questions at once; nothing here knows Ray or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from speechprune.cost import answer_cost
from speechprune.inference.batching import Result, batches_by_tokens, run_in_batches
from speechprune.inference.evidence import EvidenceSpan, find_evidence
from speechprune.inference.prepare import PreparedQuery, prepare_queries
from speechprune.inference.prompts import LETTERS, PromptError, letter_token_ids
from speechprune.inference.timing import PeakMemory, Timer
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.models.generation import generate
from speechprune.pruning import TOKEN_SCORES, PruningInputs, PruningMethod, PruningResult


@dataclass
class _Pending:
    """A pruned question on its way to an answer."""

    query: PreparedQuery
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
        return self.query.item

    def num_prompt_tokens(self, order: int) -> int:
        return len(self.pruned.kept_indices) + self.query.prompts[order].num_text_tokens


def answer_items(
    model: SpeechModel, items: Sequence[Item], method: PruningMethod, options: AnsweringOptions
) -> list[Answer | Exception]:
    """Answer all items, batching what can be batched.

    Parameters
    ----------
    items
        Any mix; items whose ``audio`` is the same object share the features' computation.

    Returns
    -------
    list
        One per item, in order: an ``Answer``, or the exception that this item alone raised.
    """
    return answer_prepared(model, prepare_queries(model, items, [method], options), method, options)


def answer_prepared(
    model: SpeechModel,
    queries: Sequence[PreparedQuery | Exception],
    method: PruningMethod,
    options: AnsweringOptions,
) -> list[Answer | Exception]:
    """Answer prepared queries by one of the methods that they were prepared for, with the same options.

    An exception among the queries comes back as it is.
    """
    outcomes: dict[int, Answer | Exception] = {}
    pending: dict[int, _Pending] = {}
    for index, query in enumerate(queries):
        if isinstance(query, Exception):
            outcomes[index] = query
            continue
        try:
            pruned = _prune(model, query, method)
            _check_length(model, pruned)
            pending[index] = pruned
        except Exception as error:  # out of memory, say: this question fails, the others go on
            outcomes[index] = error
    _score_choices(model, {i: one for i, one in pending.items() if one.item.choices}, outcomes)
    _generate(model, {i: one for i, one in pending.items() if not one.item.choices}, options, outcomes)
    answered = {index: one for index, one in pending.items() if index not in outcomes}
    num_sharing = Counter(id(one.item.audio) for one in answered.values())
    for index, one in answered.items():
        outcomes[index] = _to_answer(model, one, num_sharing[id(one.item.audio)])
    return [outcomes[index] for index in range(len(queries))]


def _prune(model: SpeechModel, query: PreparedQuery, method: PruningMethod) -> _Pending:
    timer = Timer(model.device)
    audio = query.item.audio
    names = [feature.name for feature in method.features]
    inputs = PruningInputs(
        audio_embeds=audio.embeds,
        query_embeds=query.query_embeds,
        projections=model.language_model.projections,
        frame_starts=audio.frame_starts,
        item_id=query.item.item_id,
        features={name: query.features[name] for name in names},
    )
    pruned = method.prune(inputs)
    evidence: list[EvidenceSpan] = []
    if TOKEN_SCORES in method.features:
        evidence = find_evidence(inputs[TOKEN_SCORES], pruned.kept_indices, audio.times, audio.frame_starts)
    return _Pending(
        query=query,
        pruned=pruned,
        evidence=evidence,
        prune_flops=method.flops(
            model.shape.decoder, inputs.num_tokens, len(query.query_embeds), pruned.num_phase1_tokens
        ),
        seconds_prune=timer.seconds() + sum(query.feature_seconds[name] for name in names),
    )


def _check_length(model: SpeechModel, one: _Pending) -> None:
    num_tokens = max(one.num_prompt_tokens(order) for order in range(len(one.query.prompts)))
    longest = model.language_model.max_prompt_tokens
    if num_tokens > longest:
        raise PromptError(
            f"a prompt of {num_tokens:,} tokens exceeds the {longest:,} that the model takes: prune to fewer "
            "tokens, or set start and end"
        )


def _splice(model: SpeechModel, one: _Pending, order: int) -> SplicedPrompt:
    """Put the kept audio tokens into their place in the prompt."""
    S, prompt = one.item.audio.embeds, one.query.prompts[order]
    kept = torch.from_numpy(one.pruned.kept_indices).to(S.device)
    parts = [model.embed_tokens(prompt.prefix_ids), S[kept], model.embed_tokens(prompt.suffix_ids)]
    audio_ids = [model.language_model.audio_token_id] * len(kept)
    return SplicedPrompt(torch.cat(parts), [*prompt.prefix_ids, *audio_ids, *prompt.suffix_ids])


def _score_choices(
    model: SpeechModel, pending: dict[int, _Pending], outcomes: dict[int, Answer | Exception]
) -> None:
    """Compute the logits of the choices' letters, one prefill a prompt."""

    def prefill(prompts: list[SplicedPrompt]) -> list[torch.Tensor]:
        return list(model.next_token_logits(prompts).cpu())

    jobs = [(index, order) for index, one in pending.items() for order in range(len(one.query.prompts))]
    for index, order, row, seconds in _run_prompts(model, pending, jobs, prefill, outcomes):
        one = pending[index]
        assert one.item.choices is not None
        letters = letter_token_ids(model.tokenizer, len(one.item.choices))
        one.letter_logits[order] = row[letters]
        if order != one.query.check_order:  # which no cost column counts
            one.seconds_prefill += seconds


def _generate(
    model: SpeechModel,
    pending: dict[int, _Pending],
    options: AnsweringOptions,
    outcomes: dict[int, Answer | Exception],
) -> None:
    """Generate greedy text for the open-ended items."""

    def continue_prompts(prompts: list[SplicedPrompt]) -> list[tuple[list[int], float]]:
        timer = Timer(model.device)
        generated, first_token = generate(model, prompts, options.max_new_tokens)
        seconds_prefill = timer.seconds_until(first_token) / len(prompts)
        return [(token_ids, seconds_prefill) for token_ids in generated]

    jobs = [(index, 0) for index in pending]
    for index, _, answer, seconds in _run_prompts(model, pending, jobs, continue_prompts, outcomes):
        one = pending[index]
        one.generated_ids, one.seconds_prefill = answer
        one.seconds_generate = seconds - one.seconds_prefill


def _run_prompts(
    model: SpeechModel,
    pending: dict[int, _Pending],
    jobs: list[tuple[int, int]],
    run: Callable[[list[SplicedPrompt]], list[Result]],
    outcomes: dict[int, Answer | Exception],
) -> Iterator[tuple[int, int, Result, float]]:
    """Run jobs (item, number of its prompt) in batches by the model's token budget.

    Yields each job with its result and its even share of its batch's seconds; an exception becomes the item's
    outcome.
    """

    def run_jobs(part: list[tuple[int, int]]) -> list[Result]:
        return run([_splice(model, pending[index], order) for index, order in part])

    lengths = [pending[index].num_prompt_tokens(order) for index, order in jobs]
    for numbers in batches_by_tokens(lengths, model.prefill_batch_tokens):
        batch = [jobs[number] for number in numbers]
        timer, memory = Timer(model.device), PeakMemory(model.device)
        results = run_in_batches([batch], run_jobs)
        seconds, peak = timer.seconds() / len(batch), memory.bytes()
        for (index, order), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                outcomes[index] = result
                continue
            pending[index].peak_memory_bytes = max(pending[index].peak_memory_bytes, peak)
            yield index, order, result, seconds


def _to_answer(model: SpeechModel, one: _Pending, num_sharing: int) -> Answer:
    """Make the answer; encoding cost is split evenly across the recording's answers in this call."""
    choices, query = one.item.choices, one.query
    probabilities: list[float] | None = None
    permuted_prediction: str | None = None
    if choices is not None:
        mean = _mean_over(one, query.answer_orders)
        best = int(np.argmax(mean))
        prediction, text, probabilities = LETTERS[best], choices[best], mean.tolist()
        if query.check_order is not None:
            permuted_prediction = LETTERS[int(np.argmax(_mean_over(one, [query.check_order])))]
    else:
        text = model.tokenizer.decode(one.generated_ids, skip_special_tokens=True).strip()
        prediction = text
    audio = one.item.audio
    num_text_tokens = query.prompts[0].num_text_tokens
    return Answer(
        prediction=prediction,
        prediction_text=text,
        permuted_prediction=permuted_prediction,
        choice_probabilities=probabilities,
        kept_indices=one.pruned.kept_indices,
        evidence=one.evidence,
        num_audio_tokens=len(audio.embeds),
        num_phase1_tokens=one.pruned.num_phase1_tokens,
        num_text_tokens=num_text_tokens,
        num_generated_tokens=len(one.generated_ids),
        cost=answer_cost(
            model.shape.decoder,
            num_audio_tokens_kept=len(one.pruned.kept_indices),
            num_text_tokens=num_text_tokens,
            encode_flops=audio.num_encoder_flops / num_sharing,
            prune_flops=one.prune_flops,
            num_generated_tokens=len(one.generated_ids),
            num_prefills=len(query.answer_orders),
        ),
        seconds_encode=audio.seconds_encode / num_sharing,
        seconds_prune=one.seconds_prune,
        seconds_prefill=one.seconds_prefill,
        seconds_generate=one.seconds_generate,
        peak_memory_bytes=one.peak_memory_bytes,
    )


def _mean_over(one: _Pending, numbers: Sequence[int]) -> np.ndarray:
    """Average the probability of each choice over some of the orders in which the choices were put."""
    assert one.item.choices is not None
    total = np.zeros(len(one.item.choices))
    for number in numbers:
        total[one.query.orders[number]] += torch.softmax(one.letter_logits[number].double(), dim=0).numpy()
    return total / len(numbers)
