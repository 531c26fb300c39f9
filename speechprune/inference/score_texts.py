"""Choices scored by the likelihood of their texts as the model's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from speechprune.inference.prompt_batches import PendingPrompt, run_prompts, splice
from speechprune.inference.prune import Pending
from speechprune.inference.types import Answer, AnsweringOptions
from speechprune.models.base import SpeechModel
from speechprune.models.likelihood import text_log_probabilities
from speechprune.pruning.transfers import Download


def score_texts(
    model: SpeechModel,
    pending: Mapping[int, Pending],
    options: AnsweringOptions,
    outcomes: dict[int, Answer | Exception],
) -> Callable[[], None]:
    """Compute the log likelihood of each choice's text, one prefill a prompt for all of its choices.

    As in lm-evaluation-harness the token that would end the answer is not scored. Its ``acc`` goes by
    the sums (``scoring=texts``); its ``acc_norm`` divides them by characters, ``texts_per_token`` by tokens.

    Returns what waits for the likelihoods and fills them in.
    """

    def run(batch: list[PendingPrompt]) -> list[torch.Tensor]:
        texts = [prompt.text.answer_ids for prompt in batch]
        return text_log_probabilities(model, splice(model, batch), texts)

    scored = []
    for has_audio in (True, False) if options.calibrate else (True,):
        prompts = [
            PendingPrompt(index, one, one.query.prompts[0], one.kept if has_audio else one.kept[:0])
            for index, one in pending.items()
            if index not in outcomes
        ]
        scored += [(has_audio, *one) for one in run_prompts(model, prompts, run, outcomes)]
    if not scored:
        return lambda: None
    download = Download(torch.cat([values for _, _, values, _ in scored]))

    def fill_in() -> None:
        parts = torch.from_numpy(download.numpy()).split([len(values) for _, _, values, _ in scored])
        for (has_audio, prompt, _, timer), values in zip(scored, parts, strict=True):
            one, scores = prompt.pending, _log_likelihoods(values, prompt.text.answer_ids, options)
            if has_audio:
                one.choice_scores[prompt.order] = scores
            else:
                one.choice_scores[prompt.order] -= scores
            one.seconds_prefill += timer.seconds()

    return fill_in


def _log_likelihoods(
    values: torch.Tensor, texts: Sequence[list[int]], options: AnsweringOptions
) -> torch.Tensor:
    """Sum the log probabilities of each text's tokens, or take their mean."""
    lengths = [len(ids) for ids in texts]
    sums = torch.stack([own.double().sum() for own in values.split(lengths)])
    return sums / torch.tensor(lengths) if options.scoring == "texts_per_token" else sums
