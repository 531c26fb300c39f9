"""Pruning methods as a user writes them: with a setting, with a feature of its own, with clashing names."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from speechprune.pruning import Feature, PruningInputs, PruningMethod, PruningResult
from speechprune.pruning.base import RatedMethod


@dataclass(frozen=True, kw_only=True)
class KeepEvery(PruningMethod):
    """Every n-th token.

    Parameters
    ----------
    every
        n.
    """

    name: ClassVar[str] = "keep_every"

    every: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise ValueError(f"every is {self.every}: give at least 1")

    def num_kept(self, num_tokens: int) -> int:
        return -(-num_tokens // self.every)

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        return PruningResult(np.arange(0, inputs.num_tokens, self.every)[:num_kept])


# length of every embedding: the same for all questions
LENGTHS: Feature[np.ndarray] = Feature(
    "lengths",
    lambda inputs: [inputs.audio_embeds.norm(dim=1).cpu().numpy()] * len(inputs.queries),
    lambda shape, num_tokens, num_query_tokens: 2 * num_tokens * shape.hidden_size,
)


@dataclass(frozen=True, kw_only=True)
class Longest(RatedMethod):
    """The tokens of the longest embeddings."""

    name: ClassVar[str] = "longest"
    features: ClassVar[tuple[Feature, ...]] = (LENGTHS,)

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        return PruningResult(np.sort(np.argsort(-inputs[LENGTHS], kind="stable")[:num_kept]))


# classes whose names or features clash with others


class AnotherKeepEvery(KeepEvery):
    """A class that has forgotten to take a name of its own."""


class AnotherRandom(KeepEvery):
    name: ClassVar[str] = "random"


class OtherLengths(Longest):
    name: ClassVar[str] = "other_lengths"
    features: ClassVar[tuple[Feature, ...]] = (replace(LENGTHS, flops=lambda *_: 0),)


class TwoLengths(Longest):
    name: ClassVar[str] = "two_lengths"
    features: ClassVar[tuple[Feature, ...]] = (LENGTHS, *OtherLengths.features)
