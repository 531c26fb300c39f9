"""Answer questions about encoded recordings: prune for a question, splice into the prompt, score or generate.

Works on any mix of recordings and questions at once; nothing here knows Ray or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch

from speechprune.cost import answer_cost
from speechprune.inference.evidence import evidence_text
from speechprune.inference.prepare import PreparedQuery, prepare_queries
from speechprune.inference.prompt_batches import PendingPrompt, continue_prompts, run_prompts, splice
from speechprune.inference.prompts import LETTERS, letter_token_ids
from speechprune.inference.prune import Pending, download_kept, prune_queries
from speechprune.inference.score_texts import score_texts
from speechprune.inference.transcripts import transcribe_evidence
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.base import SpeechModel
from speechprune.pruning import PruningMethod
from speechprune.pruning.transfers import Download, upload


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
    # A GPU gets all its work queued, up to the choices' logits, before the host waits for a result.
    pending: dict[int, Pending] = {}
    for index, pruned in enumerate(prune_queries(model, queries, method)):
        if isinstance(pruned, Exception):
            outcomes[index] = pruned
        else:
            pending[index] = pruned
    fill_in_kept = download_kept(list(pending.values()))
    with_choices = {i: one for i, one in pending.items() if one.item.choices}
    if options.by_texts:
        fill_in_scores = score_texts(model, with_choices, options, outcomes)
    else:
        fill_in_scores = _score_letters(model, with_choices, outcomes)
    fill_in_kept()  # with evidence, while a GPU computes
    fill_in_scores()
    _generate(model, {i: one for i, one in pending.items() if not one.item.choices}, options, outcomes)
    if options.transcribe_evidence and not model.states_are_ids:  # whose audio tokens are text
        answered = {i: one for i, one in pending.items() if i not in outcomes}
        transcribe_evidence(model, answered, options.max_new_tokens, outcomes)
    answered = {index: one for index, one in pending.items() if index not in outcomes}
    num_sharing = Counter(id(one.item.audio) for one in answered.values())
    for index, one in answered.items():
        outcomes[index] = _to_answer(model, one, num_sharing[id(one.item.audio)], options)
    return [outcomes[index] for index in range(len(queries))]


def _score_letters(
    model: SpeechModel, pending: dict[int, Pending], outcomes: dict[int, Answer | Exception]
) -> Callable[[], None]:
    """Compute the logits of the choices' letters, one prefill a prompt.

    Returns what waits for them and fills them in.
    """
    if not pending:
        return lambda: None
    most = max(len(one.item.choices or ()) for one in pending.values())
    letters = upload(letter_token_ids(model.tokenizer, most), model.device)

    def prefill(batch: list[PendingPrompt]) -> list[torch.Tensor]:
        logits = model.next_token_logits(splice(model, batch))
        return list(logits[:, letters.to(logits.device)].to(model.device))

    prompts = [
        PendingPrompt.of_question(index, one, order)
        for index, one in pending.items()
        for order in range(len(one.query.prompts))
    ]
    scored = list(run_prompts(model, prompts, prefill, outcomes))
    if not scored:
        return lambda: None
    download = Download(torch.stack([row for _, row, _ in scored]))

    def fill_in() -> None:
        rows = torch.from_numpy(download.numpy())
        for (prompt, _, timer), row in zip(scored, rows, strict=True):
            one = prompt.pending
            one.choice_scores[prompt.order] = row[: len(one.item.choices or ())]
            if prompt.order != one.query.check_order:  # which no cost column counts
                one.seconds_prefill += timer.seconds()

    return fill_in


def _generate(
    model: SpeechModel,
    pending: dict[int, Pending],
    options: AnsweringOptions,
    outcomes: dict[int, Answer | Exception],
) -> None:
    """Generate greedy text for the open-ended items."""
    prompts = [PendingPrompt.of_question(index, one) for index, one in pending.items()]
    for prompt, answer, timer in continue_prompts(model, prompts, options.max_new_tokens, outcomes):
        one = prompt.pending
        one.generated_ids, one.seconds_prefill = answer
        one.seconds_generate = timer.seconds() - one.seconds_prefill


def _to_answer(model: SpeechModel, one: Pending, num_sharing: int, options: AnsweringOptions) -> Answer:
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
        kept_indices=one.kept_indices,
        evidence=one.evidence,
        timeline=one.timeline,
        evidence_text=one.transcripts
        or evidence_text(one.evidence, audio.token_ids, audio.times, model.tokenizer),
        num_audio_tokens=len(audio.embeds),
        num_phase1_tokens=one.num_phase1_tokens,
        num_text_tokens=num_text_tokens,
        num_generated_tokens=len(one.generated_ids),
        cost=answer_cost(
            model.shape.decoder,
            num_audio_tokens_kept=len(one.kept_indices),
            num_text_tokens=num_text_tokens,
            encode_flops=audio.num_encoder_flops / num_sharing,
            prune_flops=one.prune_flops,
            num_generated_tokens=len(one.generated_ids),
            num_prefills=len(query.answer_orders),
            choice_lengths=[len(ids) for ids in query.prompts[0].answer_ids],
            is_calibrated=choices is not None and options.calibrate,
            transcription_flops=one.transcription_flops,
        ),
        seconds_encode=audio.seconds_encode / num_sharing,
        seconds_prune=one.seconds_prune,
        seconds_prefill=one.seconds_prefill,
        seconds_generate=one.seconds_generate,
        peak_memory_bytes=one.peak_memory_bytes,
    )


def _mean_over(one: Pending, numbers: Sequence[int]) -> np.ndarray:
    """Average the probability of each choice over some of the orders in which the choices were put."""
    assert one.item.choices is not None
    total = np.zeros(len(one.item.choices))
    for number in numbers:
        total[one.query.orders[number]] += torch.softmax(one.choice_scores[number].double(), dim=0).numpy()
    return total / len(numbers)
