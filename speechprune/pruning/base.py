"""The contract of a pruning method: inputs, result, settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np
import torch

from speechprune.cost import DecoderShape
from speechprune.pruning.features import TOKEN_SCORES, Feature, Value
from speechprune.pruning.phase2 import FirstLayerProjections


@dataclass(frozen=True, kw_only=True)
class PruningInputs:
    """What a method may look at: one recording and one question.

    ``inputs[TOKEN_SCORES]`` is the value of a feature that the method lists.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``.
    query_embeds
        T, shape ``(L, D)``: the query's own tokens.
    projections
        W_Q and W_K of the first decoder layer.
    frame_starts
        Boundaries of the m budget frames (seconds), int64, shape ``(m + 1,)``, on the device of the
        embeddings: frame i holds the tokens from ``frame_starts[i]`` up to ``frame_starts[i + 1]``, at least
        one.
    item_id
        Seeds the random methods, so that an item keeps its tokens on any worker.
    features
        Values of the method's features for this question, by name.
    """

    audio_embeds: torch.Tensor
    query_embeds: torch.Tensor
    projections: FirstLayerProjections
    frame_starts: torch.Tensor
    item_id: str
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.audio_embeds)

    def __getitem__(self, feature: Feature[Value]) -> Value:
        if feature.name not in self.features:
            raise KeyError(f"the feature {feature.name} is not listed in the method's features")
        value: Value = self.features[feature.name]
        return value


@dataclass(frozen=True)
class PruningResult:
    """The tokens kept, ascending and unique, and how many phase 1 left (None without phase 1).

    ``kept_indices``: int64, a tensor or an array; best a tensor on the device of the embeddings, as bringing
    them to the host waits for a GPU.
    """

    kept_indices: torch.Tensor | np.ndarray
    num_phase1_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class PruningMethod(ABC):
    """A rule that chooses the audio tokens an answer is made from.

    A subclass is a frozen dataclass of its settings, with a ``name``, the ``features`` that it needs, and
    ``keep``; its line in ``METHODS`` makes it known to jobs, sweeps and notebooks. A class of the user's own
    is named by its import path instead.

    Parameters
    ----------
    phase1_budget
        K, tokens that phase 1 leaves and that the pruning rate refers to: a number, 750 being 30 s of
        Qwen2-Audio, or ``native``, 30 s of whichever model answers.
    """

    name: ClassVar[str]
    features: ClassVar[tuple[Feature[Any], ...]] = ()  # all that any of its settings needs

    phase1_budget: int | Literal["native"] = 750

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "keep" in vars(cls) and "keep_all" not in vars(cls):  # another rule than the inherited keep_all's
            cls.keep_all = PruningMethod.keep_all  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        if self.phase1_budget != "native" and (isinstance(self.phase1_budget, str) or self.phase1_budget < 1):
            raise ValueError(f"phase1_budget is {self.phase1_budget}: give at least 1 token, or native")
        for setting, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal and getattr(self, setting) not in get_args(hint):
                choices = " or ".join(get_args(hint))
                raise ValueError(f"{setting} is {getattr(self, setting)!r}: give {choices}")

    @property
    def budget(self) -> int:
        """K, which ``for_model`` makes a number."""
        if isinstance(self.phase1_budget, str):
            raise ValueError(f"phase1_budget is {self.phase1_budget}: for_model gives the number of a model")
        return self.phase1_budget

    def for_model(self, native_tokens: int) -> Self:
        """Return the method with K in tokens; ``native_tokens`` are 30 s of the model that answers."""
        return replace(self, phase1_budget=native_tokens) if self.phase1_budget == "native" else self

    @property
    def needed_features(self) -> tuple[Feature[Any], ...]:
        """Those of ``features`` that these settings need."""
        return self.features

    @property
    def evidence_scores(self) -> Feature[torch.Tensor] | None:
        """The feature whose token scores rank the evidence; None where the question is not looked at."""
        return TOKEN_SCORES if TOKEN_SCORES in self.needed_features else None

    @abstractmethod
    def num_kept(self, num_tokens: int) -> int:
        """Return how many of ``num_tokens`` audio tokens this method keeps with its settings."""

    @abstractmethod
    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Choose exactly ``num_kept`` tokens, 1 to N (``allocation: floor`` may find fewer)."""

    def keep_all(self, inputs: Sequence[PruningInputs], num_kept: int) -> list[PruningResult]:
        """Choose for several questions about one recording as ``keep`` does for each; here one by one.

        A GPU is faster where it is asked for all of them at once.
        """
        return [self.keep(own, num_kept) for own in inputs]

    def flops(
        self, shape: DecoderShape, num_tokens: int, num_query_tokens: int, num_phase1_tokens: int | None
    ) -> int:
        """Count the FLOPs of choosing for one question: here those of the features."""
        return sum(feature.flops(shape, num_tokens, num_query_tokens) for feature in self.needed_features)

    def prune(self, inputs: PruningInputs) -> PruningResult:
        """Choose as many tokens as the settings say."""
        return self.prune_all([inputs])[0]

    def prune_all(self, inputs: Sequence[PruningInputs]) -> list[PruningResult]:
        """Choose as many tokens as the settings say, for each of some questions about one recording."""
        return self.keep_all(inputs, self.num_kept(inputs[0].num_tokens))

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
        return max(1, round((1 - self.pruning_rate) * min(self.budget, num_tokens)))

    @property
    def rate(self) -> float | None:
        """PR."""
        return self.pruning_rate


def features_of(methods: Iterable[PruningMethod | type[PruningMethod]]) -> list[Feature[Any]]:
    """All features that some methods need, each once; of a class, with any settings.

    Raises
    ------
    ValueError
        Two different ones have the same name.
    """
    features: dict[str, Feature[Any]] = {}
    for method in methods:
        for feature in method.features if isinstance(method, type) else method.needed_features:
            if features.setdefault(feature.name, feature) != feature:
                raise ValueError(
                    f"two different features are named {feature.name!r}, one of them of the method "
                    f"{method.name!r}: give it another name"
                )
    return list(features.values())
