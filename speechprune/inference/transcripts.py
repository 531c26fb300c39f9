"""The words beside the evidence: the model writes down each span."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speechprune.cost import decode_flops, prefill_flops
from speechprune.inference.evidence import EvidenceSpan
from speechprune.inference.prompt_batches import PendingPrompt, continue_prompts
from speechprune.inference.prompts import PromptFormat, prompt_of
from speechprune.inference.prune import Pending
from speechprune.inference.types import Answer
from speechprune.models.base import SpeechModel
from speechprune.pruning.transfers import upload

REQUEST = "Write down what is said in this recording, word by word, and nothing else."
CONTEXT_SECONDS = 2.0  # on both sides of a span, which begins and ends within words


def transcribe_evidence(
    model: SpeechModel,
    pending: Mapping[int, Pending],
    max_new_tokens: int,
    outcomes: dict[int, Answer | Exception],
) -> None:
    """Fill in the transcripts of some questions' evidence, in its order, and their FLOPs.

    Each is generated from all audio tokens of its span, pruned ones too, and of some seconds around it. What
    fails becomes the outcome of its question.
    """
    text = prompt_of(model, REQUEST, None, PromptFormat())
    prompts = []
    for index, one in pending.items():
        one.transcripts = [""] * len(one.evidence)
        for number, span in enumerate(one.evidence):
            tokens = upload(tokens_around(span, one.item.audio.times), one.item.audio.embeds.device)
            prompts.append(PendingPrompt(index, one, text, tokens, order=number))
    shape = model.shape.decoder
    for prompt, (token_ids, _), timer in continue_prompts(model, prompts, max_new_tokens, outcomes):
        one, num_tokens = prompt.pending, prompt.num_tokens
        one.transcripts[prompt.order] = model.tokenizer.decode(token_ids, skip_special_tokens=True).strip()
        one.transcription_flops += prefill_flops(shape, num_tokens)
        one.transcription_flops += decode_flops(shape, num_tokens, len(token_ids))
        one.seconds_generate += timer.seconds()


def tokens_around(span: EvidenceSpan, times: np.ndarray) -> np.ndarray:
    """Numbers of the tokens that overlap a span and its context, int64, ascending.

    ``times``: begin and end of every token, shape ``(N, 2)``.
    """
    begin, end = span.start - CONTEXT_SECONDS, span.end + CONTEXT_SECONDS
    return np.flatnonzero((times[:, 1] > begin) & (times[:, 0] < end))
