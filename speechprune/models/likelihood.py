"""Likelihood of texts that follow a prompt, the same for every model family."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from speechprune.models.base import SpeechModel, SplicedPrompt, attention_of_any_shape
from speechprune.models.cached_prompts import CachedPrompts
from speechprune.pruning.transfers import upload

STATES_AT_ONCE = 256  # whose logits are formed together: 160 MB of 156,032 words in float32


@torch.inference_mode()
def text_log_probabilities(
    model: SpeechModel, prompts: Sequence[SplicedPrompt], texts: Sequence[Sequence[list[int]]]
) -> list[torch.Tensor]:
    """Compute the log probability of each token of texts that follow prompts, from one prefill a prompt.

    The texts of a prompt run as a batch on copies of its cache, without their last tokens, which nothing
    follows; only logits that a token is read from are formed.

    Parameters
    ----------
    texts
        Token ids of each prompt's texts; none is empty.

    Returns
    -------
    list
        One float32 tensor per prompt: its texts' tokens, one text behind the other.
    """
    flat = list(itertools.chain.from_iterable(texts))
    rows = [row for row, own in enumerate(texts) for _ in own]
    num_fed = [max(map(len, own)) - 1 for own in texts]
    most_fed = max(num_fed)
    batch = CachedPrompts(model, prompts, num_fed, has_static_cache=False)
    # compiled layers would be compiled again for each layer and length, up to a limit that letters share
    with torch.compiler.set_stance("force_eager"), attention_of_any_shape(model.device):
        states = batch.run_prompts()
        firsts = upload(_padded([[ids[0] for ids in own] for own in texts]), states.device)
        found = [_log_probabilities(model, states, firsts)]
        if most_fed:
            fed = upload(_padded([ids[:-1] for ids in flat]), model.device)
            states = batch.run_texts(upload(rows, model.device), fed).flatten(0, 1)
            places = [n * most_fed + i for n, ids in enumerate(flat) for i in range(len(ids) - 1)]
            rest = upload([token_id for ids in flat for token_id in ids[1:]], states.device)
            states = states[upload(places, states.device)]
            found.append(_log_probabilities(model, states, rest[:, None]))
    order = upload(_order(texts, firsts.shape[1]), model.device)
    return list(torch.cat(found)[order].split([sum(map(len, own)) for own in texts]))


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def _log_probabilities(model: SpeechModel, states: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Log probabilities of n tokens behind each state, of ``(states, D)`` and ``(states, n)``, as one row."""
    parts = []
    for own, tokens in zip(states.split(STATES_AT_ONCE), token_ids.split(STATES_AT_ONCE), strict=True):
        logits = model.language_model.head(own).float()
        chosen = logits.gather(1, tokens.to(logits.device))
        parts.append((chosen - logits.logsumexp(dim=1, keepdim=True)).to(model.device))
    return torch.cat(parts).flatten()


def _order(texts: Sequence[Sequence[list[int]]], most_texts: int) -> list[int]:
    """Where each token's value is: all first tokens stand before the others, a row of them per prompt."""
    order: list[int] = []
    rest = itertools.count(len(texts) * most_texts)
    for row, own in enumerate(texts):
        for column, ids in enumerate(own):
            order += [row * most_texts + column, *itertools.islice(rest, len(ids) - 1)]
    return order
