"""Which audio tokens to keep for a question. Sees embeddings and weights, nothing else."""

from speechprune.pruning.base import PruningInputs, PruningMethod, PruningResult
from speechprune.pruning.features import BEST_SCORES, TOKEN_SCORES, WORD_MATCHES, Feature, FeatureInputs
from speechprune.pruning.methods import (
    METHODS,
    FirstPhase,
    LateInteraction,
    NoPruning,
    RandomCrop,
    RandomSegments,
    SecondPhase,
    SpeechPrune,
    Truncate,
    method_class,
)
from speechprune.pruning.phase2 import FirstLayerProjections

__all__ = [
    "BEST_SCORES",
    "METHODS",
    "TOKEN_SCORES",
    "WORD_MATCHES",
    "Feature",
    "FeatureInputs",
    "FirstLayerProjections",
    "FirstPhase",
    "LateInteraction",
    "NoPruning",
    "PruningInputs",
    "PruningMethod",
    "PruningResult",
    "RandomCrop",
    "RandomSegments",
    "SecondPhase",
    "SpeechPrune",
    "Truncate",
    "method_class",
]
