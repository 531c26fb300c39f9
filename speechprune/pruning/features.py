"""Features: what methods know of a recording and its questions, computed once a recording for all questions.

A method lists the features that it needs; each is computed for all questions of a recording in one call, and
its time and FLOPs are counted towards pruning. A method of your own may bring features of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from speechprune.cost import DecoderShape, late_interaction_flops, phase1_flops
from speechprune.pruning.late_interaction import WordMatches, match_words
from speechprune.pruning.similarity import best_scores, token_scores

Value = TypeVar("Value")


@dataclass(frozen=True)
class FeatureInputs:
    """What a feature is computed from: one recording and all questions about it.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``, N at least 1.
    queries
        T of each of Q questions, ``(L, D)``.
    token_ids
        The L tokens of each question, on the host.
    token_rate
        f, audio tokens a second.
    """

    audio_embeds: torch.Tensor
    queries: Sequence[torch.Tensor]
    token_ids: Sequence[Sequence[int]]
    token_rate: float


@dataclass(frozen=True)
class Feature(Generic[Value]):
    """A named function of a recording and its questions.

    Parameters
    ----------
    name
        Unique among the features of a run.
    compute
        ``FeatureInputs`` to one value a question, in order. The value of a question must not depend on which
        other questions are there.
    flops
        FLOPs for one question: of ``(shape, N, L)``.
    """

    name: str
    compute: Callable[[FeatureInputs], Sequence[Value]]
    flops: Callable[[DecoderShape, int, int], int]


# phase 1's mean similarity of every token, s: float32, shape (N,), on the device of the embeddings
TOKEN_SCORES: Feature[torch.Tensor] = Feature(
    "token_scores",
    lambda inputs: list(token_scores(inputs.audio_embeds, inputs.queries)),
    lambda shape, num_tokens, num_query_tokens: phase1_flops(shape, num_tokens),
)

# the similarity to the query's nearest token in its place
BEST_SCORES: Feature[torch.Tensor] = Feature(
    "best_scores",
    lambda inputs: best_scores(inputs.audio_embeds, inputs.queries, inputs.token_ids),
    late_interaction_flops,
)

# where the query's words are matched, for late interaction
WORD_MATCHES: Feature[WordMatches] = Feature(
    "word_matches",
    lambda inputs: match_words(inputs.audio_embeds, inputs.queries, inputs.token_ids, inputs.token_rate),
    late_interaction_flops,
)
