"""Pruning methods: each a frozen dataclass of its own settings, by name in ``METHODS``.

A new method is one class and one line in ``METHODS``: configs, the command line, sweeps, notebooks and tests
know it from there.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from speechprune.cost import DecoderShape, phase2_flops
from speechprune.plugins import import_class, is_import_path
from speechprune.pruning.base import PruningInputs, PruningMethod, PruningResult, RatedMethod, features_of
from speechprune.pruning.features import BEST_SCORES, TOKEN_SCORES, WORD_MATCHES, Feature
from speechprune.pruning.late_interaction import (
    choose_windows,
    distance_to_chosen,
    keep_nearest,
    window_scores,
)
from speechprune.pruning.phase1 import Allocation, first_phase, join_frames
from speechprune.pruning.phase2 import Scale, keep_highest, second_phase_scores
from speechprune.pruning.similarity import Similarity

_QUESTIONS_AT_ONCE = 8  # that phase 1 and 2 take together: 0.3 GB at D = 4096


@dataclass(frozen=True, kw_only=True)
class FirstPhase(RatedMethod):
    """Phase 1 alone, straight to k tokens (the ablation of Fig. 3).

    Parameters
    ----------
    allocation
        ``fill`` gives every token of the budget away; ``floor`` is Eq 7 as written.
    similarity
        Score of an audio token: ``mean`` of its cosines with all of the query's tokens, as written; or
        ``best``, its cosine with the nearest of them.
    standardise
        Whether frames are compared by deviations from the recording's mean score, not by sums of cosines,
        which the softmax of Eq 6 hardly tells apart.
    frame_seconds
        Length of phase 1's frames: 1 as written, 8 for about a sentence.
    """

    name: ClassVar[str] = "first_phase"
    features: ClassVar[tuple[Feature[Any], ...]] = (TOKEN_SCORES, BEST_SCORES)

    allocation: Allocation = "fill"
    similarity: Similarity = "mean"
    standardise: bool = False
    frame_seconds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame_seconds < 1:
            raise ValueError(f"frame_seconds is {self.frame_seconds}: give at least 1 second")

    @property
    def needed_features(self) -> tuple[Feature[Any], ...]:
        """The scores of ``similarity``."""
        return (self.evidence_scores,)

    @property
    def evidence_scores(self) -> Feature[torch.Tensor]:
        """The scores of ``similarity``."""
        return BEST_SCORES if self.similarity == "best" else TOKEN_SCORES

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Keep what phase 1 ranks highest within its frames (Eqs 4 to 9)."""
        return self._keep([inputs], num_kept)[0]

    def keep_all(self, inputs: Sequence[PruningInputs], num_kept: int) -> list[PruningResult]:
        """Questions in batches; ``floor`` keeps another number of tokens for each, so they go one by one."""
        size = 1 if self.allocation == "floor" else _QUESTIONS_AT_ONCE
        batches = (inputs[begin : begin + size] for begin in range(0, len(inputs), size))
        return [result for batch in batches for result in self._keep(batch, num_kept)]

    def _keep(self, inputs: Sequence[PruningInputs], num_kept: int) -> list[PruningResult]:
        kept, _ = self._survivors(inputs, num_kept)
        return [PruningResult(own, num_phase1_tokens=len(own)) for own in kept]

    def _survivors(self, inputs: Sequence[PruningInputs], budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What phase 1 leaves for Q questions, ``(Q, n)``, and its scores, ``(Q, N)``."""
        similarity = torch.stack([own[self.evidence_scores] for own in inputs])
        frame_starts = join_frames(inputs[0].frame_starts, self.frame_seconds)
        kept = first_phase(similarity, budget, frame_starts, self.allocation, standardise=self.standardise)
        return kept, similarity


@dataclass(frozen=True, kw_only=True)
class SecondPhase(RatedMethod):
    """Phase 2 alone, over all tokens of the recording (the ablation of Fig. 3): quadratic in length.

    Parameters
    ----------
    scale
        ``sign`` as written, or ``xnor``: times the mean absolute values.
    """

    name: ClassVar[str] = "second_phase"

    scale: Scale = "sign"

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Keep the tokens that receive most attention (Eqs 10 to 13)."""
        scores = second_phase_scores(inputs.audio_embeds, inputs.projections, self.scale)
        return PruningResult(keep_highest(num_kept, scores))

    def flops(
        self, shape: DecoderShape, num_tokens: int, num_query_tokens: int, num_phase1_tokens: int | None
    ) -> int:
        """The binarized attention of all N tokens."""
        return phase2_flops(shape, num_tokens)


@dataclass(frozen=True, kw_only=True)
class SpeechPrune(FirstPhase):
    """SpeechPrune (https://arxiv.org/abs/2412.12009): phase 1 to K tokens, phase 2 from there to k.

    Parameters
    ----------
    scale
        ``sign`` as written, or ``xnor``: times the mean absolute values.
    """

    name: ClassVar[str] = "speechprune"

    scale: Scale = "sign"

    def _keep(self, inputs: Sequence[PruningInputs], num_kept: int) -> list[PruningResult]:
        """Survivors of phase 1 that receive most attention; ties go by phase 1's score."""
        kept, similarity = self._survivors(inputs, max(self.budget, num_kept))
        num_survivors = kept.shape[1]
        if num_kept < num_survivors:
            S_p1 = inputs[0].audio_embeds[kept]
            scores = second_phase_scores(S_p1, inputs[0].projections, self.scale)
            kept = kept.gather(1, keep_highest(num_kept, scores, similarity.gather(1, kept)))
        return [PruningResult(own, num_phase1_tokens=num_survivors) for own in kept]

    def flops(
        self, shape: DecoderShape, num_tokens: int, num_query_tokens: int, num_phase1_tokens: int | None
    ) -> int:
        """Phase 1 over N tokens, phase 2 over the survivors where it has something to drop."""
        num_survivors = num_phase1_tokens or 0
        second = phase2_flops(shape, num_survivors) if self.num_kept(num_tokens) < num_survivors else 0
        return super().flops(shape, num_tokens, num_query_tokens, num_phase1_tokens) + second


@dataclass(frozen=True, kw_only=True)
class LateInteraction(RatedMethod):
    """Ours: what stands in and around the windows in which most different words of the query are matched."""

    name: ClassVar[str] = "late_interaction"
    features: ClassVar[tuple[Feature[Any], ...]] = (TOKEN_SCORES, WORD_MATCHES)

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Keep the tokens nearest to the best windows; inside of them phase 1's score decides."""
        words = inputs[WORD_MATCHES]
        scores = window_scores(words.best_cosines)
        chosen = choose_windows(scores, words.block_tokens, inputs.num_tokens, num_kept)
        distances = distance_to_chosen(chosen, words.block_tokens, inputs.num_tokens)
        return PruningResult(keep_nearest(distances, inputs[TOKEN_SCORES], num_kept))


@dataclass(frozen=True, kw_only=True)
class RandomSegments(RatedMethod):
    """Random audio pruning, RAP: short segments from all over the recording.

    Parameters
    ----------
    seed
        Another seed, other segments.
    segment_tokens
        Tokens in a segment; 5 are 0.2 s, about a syllable.
    """

    name: ClassVar[str] = "random"

    seed: int = 0
    segment_tokens: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segment_tokens < 1:
            raise ValueError(f"segment_tokens is {self.segment_tokens}: give at least 1 token")

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Draw segments of a regular grid without replacement; the last drawn is cut to fit."""
        starts = np.arange(0, inputs.num_tokens, self.segment_tokens)
        _generator(self.seed, inputs.item_id).shuffle(starts)
        drawn = (starts[:, None] + np.arange(self.segment_tokens)).ravel()
        return PruningResult(np.sort(drawn[drawn < inputs.num_tokens][:num_kept]))


@dataclass(frozen=True, kw_only=True)
class RandomCrop(RatedMethod):
    """Random audio cropping, RAC: one contiguous segment.

    Parameters
    ----------
    seed
        Another seed, another segment.
    """

    name: ClassVar[str] = "random_crop"

    seed: int = 0

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Every position of the segment is equally likely."""
        start = _generator(self.seed, inputs.item_id).integers(inputs.num_tokens - num_kept + 1)
        return PruningResult(np.arange(start, start + num_kept))


@dataclass(frozen=True, kw_only=True)
class Truncate(PruningMethod):
    """The paper's Original: the first K tokens, the 30 s that the model takes natively."""

    name: ClassVar[str] = "truncate"

    def num_kept(self, num_tokens: int) -> int:
        """min(K, N)."""
        return min(self.budget, num_tokens)

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """The beginning."""
        return PruningResult(np.arange(num_kept))


@dataclass(frozen=True, kw_only=True)
class NoPruning(PruningMethod):
    """All tokens: what pruning is measured against."""

    name: ClassVar[str] = "none"

    def num_kept(self, num_tokens: int) -> int:
        """N."""
        return num_tokens

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Everything, or evenly spread tokens where a budget is forced on it."""
        return PruningResult(np.arange(num_kept) * inputs.num_tokens // num_kept)


def _generator(seed: int, item_id: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{item_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


METHODS: dict[str, type[PruningMethod]] = {
    method.name: method
    for method in (
        SpeechPrune,
        FirstPhase,
        SecondPhase,
        LateInteraction,
        RandomSegments,
        RandomCrop,
        Truncate,
        NoPruning,
    )
}


def method_class(name: str) -> type[PruningMethod]:
    """Find a method by its name in ``METHODS``, or a class of the user's own by import path.

    Raises
    ------
    ValueError
        Unknown, then the sentence names the nearest; or a class without a name, with the name of a method of
        ``METHODS``, or with features that share a name.
    """
    if name in METHODS:
        return METHODS[name]
    if is_import_path(name):
        found = import_class(name, PruningMethod, "method")  # type: ignore[type-abstract]
        if not isinstance(getattr(found, "name", None), str):
            raise ValueError(
                f'method is {name!r}, whose class has no name: add name: ClassVar[str] = "..." to it'
            )
        if METHODS.get(found.name, found) is not found:
            raise ValueError(
                f"method is {name!r}, but there is another method named {found.name!r}: "
                'add a name: ClassVar[str] = "..." of its own to the class'
            )
        features_of([found])
        return found
    close = difflib.get_close_matches(name, METHODS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"give {', '.join(METHODS)}, or package.module:Class"
    raise ValueError(f"method is {name!r}: {hint}")
