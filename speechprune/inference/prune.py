"""Prune for prepared queries, all questions about a recording together, without waiting for a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from speechprune.inference.evidence import EvidenceSpan, TimelinePart, find_evidence, make_timeline
from speechprune.inference.prepare import PreparedQuery
from speechprune.inference.prompts import PromptError
from speechprune.inference.timing import Timer
from speechprune.inference.types import Item
from speechprune.models.base import SpeechModel
from speechprune.pruning import PruningInputs, PruningMethod, PruningResult
from speechprune.pruning.transfers import Download, upload


@dataclass
class Pending:
    """A pruned question on its way to an answer."""

    query: PreparedQuery
    kept: torch.Tensor  # token indices, on the device of the embeddings
    num_phase1_tokens: int | None
    prune_flops: int
    prune_timer: Timer
    features: Sequence[str]  # that the method needs
    evidence_scores: str | None  # the one of them that ranks the evidence
    kept_indices: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # ``kept`` on the host
    evidence: list[EvidenceSpan] = field(default_factory=list)
    timeline: list[TimelinePart] = field(default_factory=list)
    # the letters' logits, or the texts' log likelihoods, by number of the order; their softmax over the
    # choices gives the probabilities
    choice_scores: dict[int, torch.Tensor] = field(default_factory=dict)
    generated_ids: list[int] = field(default_factory=list)
    seconds_prefill: float = 0.0
    seconds_generate: float = 0.0
    transcripts: list[str] = field(default_factory=list)  # of the evidence, where the model writes them
    transcription_flops: int = 0
    peak_memory_bytes: int = 0

    @property
    def item(self) -> Item:
        """The question and its recording."""
        return self.query.item

    @property
    def seconds_prune(self) -> float:
        """Of pruning, with this question's share of the features."""
        return self.prune_timer.seconds() + sum(self.query.feature_seconds[name] for name in self.features)

    def num_prompt_tokens(self, order: int) -> int:
        """Length of the prompt in one of the orders of the choices."""
        return len(self.kept) + self.query.prompts[order].num_text_tokens


def prune_queries(
    model: SpeechModel, queries: Sequence[PreparedQuery | Exception], method: PruningMethod
) -> list[Pending | Exception]:
    """Prune for each query; an exception comes back as it is, and so does what pruning raises.

    On a GPU the work is queued and not waited for.
    """
    pruned: dict[int, Pending | Exception] = {}
    by_recording: dict[int, dict[int, PreparedQuery]] = defaultdict(dict)
    for index, query in enumerate(queries):
        if isinstance(query, Exception):
            pruned[index] = query
        else:
            by_recording[id(query.item.audio)][index] = query
    numbered = method.for_model(model.shape.native_tokens)
    for own in by_recording.values():
        pruned |= _prune_or_split(model, own, numbered)
    return [pruned[index] for index in range(len(queries))]


def _prune_or_split(
    model: SpeechModel, queries: Mapping[int, PreparedQuery], method: PruningMethod
) -> dict[int, Pending | Exception]:
    """Prune for the questions about one recording together, or where that fails, one by one."""
    try:
        return _prune(model, queries, method)
    except Exception as error:  # out of memory, say: this question fails, the others go on
        if len(queries) == 1:
            return dict.fromkeys(queries, error)
    # outside the except block: the error's frames would keep tensors alive
    pruned: dict[int, Pending | Exception] = {}
    for index, query in queries.items():
        pruned |= _prune_or_split(model, {index: query}, method)
    return pruned


@torch.inference_mode()
def _prune(
    model: SpeechModel, queries: Mapping[int, PreparedQuery], method: PruningMethod
) -> dict[int, Pending | Exception]:
    timer = Timer(model.device, len(queries))
    names = [feature.name for feature in method.needed_features]
    inputs = [
        PruningInputs(
            audio_embeds=query.item.audio.embeds,
            query_embeds=query.query_embeds,
            projections=model.language_model.projections,
            frame_starts=query.frame_starts,
            item_id=query.item.item_id,
            features={name: query.features[name] for name in names},
        )
        for query in queries.values()
    ]
    results = method.prune_all(inputs)
    timer.stop()
    pruned: dict[int, Pending | Exception] = {}
    for (index, query), own, result in zip(queries.items(), inputs, results, strict=True):
        one = Pending(
            query=query,
            kept=_kept(result, method, own.audio_embeds.device),
            num_phase1_tokens=result.num_phase1_tokens,
            prune_flops=method.flops(
                model.shape.decoder, own.num_tokens, len(query.query_embeds), result.num_phase1_tokens
            ),
            prune_timer=timer,
            features=names,
            evidence_scores=method.evidence_scores.name if method.evidence_scores else None,
        )
        pruned[index] = _length_error(model, one) or one
    return pruned


def _kept(result: PruningResult, method: PruningMethod, device: torch.device) -> torch.Tensor:
    """Bring the tokens kept to the device; a class of the user's own may give an array."""
    kept = upload(result.kept_indices, device)
    if kept.dim() != 1 or kept.dtype == torch.bool or kept.is_floating_point():
        raise TypeError(
            f"{method.name} returned kept_indices of {kept.dtype} and shape {tuple(kept.shape)}: give the "
            "indices of the tokens kept, whole numbers of shape (k,)"
        )
    return kept.long()


def _length_error(model: SpeechModel, one: Pending) -> PromptError | None:
    num_tokens = max(
        one.num_prompt_tokens(order) + prompt.num_answer_tokens
        for order, prompt in enumerate(one.query.prompts)
    )
    longest = model.language_model.max_prompt_tokens
    if num_tokens <= longest:
        return None
    return PromptError(
        f"a prompt of {num_tokens:,} tokens exceeds the {longest:,} that the model takes: prune to fewer "
        "tokens, or set start and end"
    )


def download_kept(pending: Sequence[Pending]) -> Callable[[], None]:
    """Start to copy to the host what answers report of pruning.

    Returns what waits for it and fills in kept indices, evidence and timeline.
    """
    if not pending:
        return lambda: None
    kept = Download(torch.cat([one.kept for one in pending]))
    scores: Download | None = None
    if (name := pending[0].evidence_scores) is not None:
        scores = Download(torch.cat([one.query.features[name] for one in pending]))

    def fill_in() -> None:
        for one, own in zip(pending, _parts(kept, [len(one.kept) for one in pending]), strict=True):
            one.kept_indices = own.copy()  # or one answer would keep the buffer of all
        lengths = [len(one.item.audio.embeds) for one in pending]
        of_items = [None] * len(pending) if scores is None else _parts(scores, lengths)
        for one, own_scores in zip(pending, of_items, strict=True):
            audio = one.item.audio
            one.timeline = make_timeline(own_scores, one.kept_indices, audio.times, audio.frame_starts)
            if own_scores is not None:
                one.evidence = find_evidence(own_scores, one.kept_indices, audio.times, audio.frame_starts)

    return fill_in


def _parts(values: Download, lengths: Sequence[int]) -> list[np.ndarray]:
    return np.split(values.numpy(), np.cumsum(lengths)[:-1])
