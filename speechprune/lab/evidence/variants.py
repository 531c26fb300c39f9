"""Phase 1 scores that were tried and did not help: centred embeddings, words weighted by their rarity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch

from speechprune.cost import late_interaction_flops
from speechprune.pruning import Feature, FeatureInputs, FirstPhase


@dataclass(frozen=True, kw_only=True)
class PhaseOneVariant(FirstPhase):
    """Phase 1 with scores of other kinds.

    Parameters
    ----------
    centre
        Take the recording's mean embedding off S, and the query's off T, before cosines.
    rare_words
        Measure each cosine in deviations from its query token's mean over the recording: tokens that are
        matched seldom weigh most, as idf has them do in text.
    """

    name: ClassVar[str] = "phase_one_variant"

    centre: bool = False
    rare_words: bool = False

    @property
    def evidence_scores(self) -> Feature[torch.Tensor]:
        """The scores of these settings."""
        return _feature(self.similarity, self.centre, self.rare_words)

    @property
    def needed_features(self) -> tuple[Feature[Any], ...]:
        """The scores of these settings."""
        return (self.evidence_scores,)


@cache
def _feature(similarity: str, centre: bool, rare_words: bool) -> Feature[torch.Tensor]:
    compute = partial(_scores, similarity=similarity, centre=centre, rare_words=rare_words)
    return Feature(f"variant_{similarity}_{centre}_{rare_words}", compute, late_interaction_flops)


def _scores(inputs: FeatureInputs, similarity: str, centre: bool, rare_words: bool) -> list[torch.Tensor]:
    scores = []
    for query in inputs.queries:
        S, T = inputs.audio_embeds.double(), query.double()
        if centre:
            S, T = S - S.mean(dim=0), T - T.mean(dim=0)
        cosines = torch.nn.functional.normalize(S, dim=1) @ torch.nn.functional.normalize(T, dim=1).T
        if rare_words:
            cosines = (cosines - cosines.mean(dim=0)) / cosines.std(dim=0).clamp_min(1e-6)
        pooled = cosines.amax(dim=1) if similarity == "best" else cosines.mean(dim=1)
        scores.append(pooled.float())
    return scores
