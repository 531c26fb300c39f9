"""What every pruning method is: inputs, result, settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch

from speechprune.cost import ModelShape
from speechprune.pruning.late_interaction import WordMatches
from speechprune.pruning.phase2 import FirstLayerProjections


@dataclass(frozen=True, kw_only=True)
class PruningInputs:
    """What a method may look at: one recording and one question.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``.
    query_embeds
        T, shape ``(L, D)``: the query's own tokens.
    token_scores
        s, float32, shape ``(N,)``: phase 1's mean similarity, made for all questions of a recording
        at once. Methods with ``uses_query = False`` get none.
    projections
        W_Q and W_K of the first decoder layer.
    frame_tokens
        f, audio tokens a second.
    item_id
        Seeds the random methods, so that an item keeps its tokens on any worker.
    word_matches
        Where the query's words are matched, made for all questions of a recording at once. Methods with
        ``uses_words = False`` get none.
    """

    audio_embeds: torch.Tensor
    query_embeds: torch.Tensor
    token_scores: np.ndarray | None
    projections: FirstLayerProjections
    frame_tokens: int
    item_id: str
    word_matches: WordMatches | None = None

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.audio_embeds)

    @property
    def similarity(self) -> np.ndarray:
        """The token scores, for the methods that declared to need them."""
        assert self.token_scores is not None
        return self.token_scores

    @property
    def words(self) -> WordMatches:
        """The word matches, for the methods that declared to need them."""
        assert self.word_matches is not None
        return self.word_matches


@dataclass(frozen=True)
class PruningResult:
    """The tokens kept, ascending and unique, and how many phase 1 left (None without phase 1)."""

    kept_indices: np.ndarray
    num_phase1_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class PruningMethod(ABC):
    """A rule that chooses the audio tokens an answer is made from.

    Parameters
    ----------
    phase1_budget
        K, tokens that phase 1 leaves and that the pruning rate refers to; 750 is the native
        30 s of Qwen2-Audio.
    """

    name: ClassVar[str]
    uses_query: ClassVar[bool] = False
    uses_words: ClassVar[bool] = False

    phase1_budget: int = 750

    def __post_init__(self) -> None:
        if self.phase1_budget < 1:
            raise ValueError(f"phase1_budget is {self.phase1_budget}: give at least 1 token")
        for setting, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal and getattr(self, setting) not in get_args(hint):
                choices = " or ".join(get_args(hint))
                raise ValueError(f"{setting} is {getattr(self, setting)!r}: give {choices}")

    @abstractmethod
    def num_kept(self, num_tokens: int) -> int:
        """How many of ``num_tokens`` audio tokens this method keeps with its settings."""

    @abstractmethod
    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Choose exactly ``num_kept`` tokens, 1 to N (``allocation: floor`` may find fewer)."""

    def flops(
        self, shape: ModelShape, num_tokens: int, num_query_tokens: int, num_phase1_tokens: int | None
    ) -> int:
        """FLOPs of choosing; none for methods that look at nothing."""
        del shape, num_tokens, num_query_tokens, num_phase1_tokens
        return 0

    def prune(self, inputs: PruningInputs) -> PruningResult:
        """Choose as many tokens as the settings say."""
        return self.keep(inputs, self.num_kept(inputs.num_tokens))

    @property
    def rate(self) -> float | None:
        """The pruning rate, or None where it does not apply."""
        return None


@dataclass(frozen=True, kw_only=True)
class RatedMethod(PruningMethod):
    """A method that keeps k = round((1 - PR)·min(K, N)) tokens.

    Parameters
    ----------
    pruning_rate
        PR, the share of min(K, N) that is dropped, 0 to below 1.
    """

    pruning_rate: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pruning_rate < 1:
            raise ValueError(f"pruning_rate is {self.pruning_rate}: give a share from 0 to below 1")

    def num_kept(self, num_tokens: int) -> int:
        """k, at least one token."""
        return max(1, round((1 - self.pruning_rate) * min(self.phase1_budget, num_tokens)))

    @property
    def rate(self) -> float | None:
        """PR."""
        return self.pruning_rate
