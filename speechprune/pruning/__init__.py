"""Which audio tokens to keep for a question. Sees embeddings and weights, nothing else."""

from speechprune.pruning.base import PruningInputs, PruningMethod, PruningResult
from speechprune.pruning.late_interaction import WordMatches
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
)
from speechprune.pruning.phase2 import FirstLayerProjections

__all__ = [
    "METHODS",
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
    "WordMatches",
]
