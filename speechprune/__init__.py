"""SpeechPrune: question answering over long recordings by pruning audio tokens.

>>> from speechprune import SpeechLM, SpeechPrune

Names are imported when first used: a worker that only decodes audio never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechprune.inference.encode import EncodedAudio
    from speechprune.inference.encoding_options import EncodingOptions
    from speechprune.inference.evidence import EvidenceSpan
    from speechprune.inference.speech_lm import SpeechLM
    from speechprune.inference.types import Answer, AnsweringOptions
    from speechprune.models.base import SpeechModel
    from speechprune.models.registry import MODELS
    from speechprune.pruning import (
        METHODS,
        FirstPhase,
        LateInteraction,
        NoPruning,
        PruningMethod,
        RandomCrop,
        RandomSegments,
        SecondPhase,
        SpeechPrune,
        Truncate,
    )

__version__ = "0.1.0"

_MODULES = {
    "Answer": "inference.types",
    "AnsweringOptions": "inference.types",
    "EncodedAudio": "inference.encode",
    "EncodingOptions": "inference.encoding_options",
    "EvidenceSpan": "inference.evidence",
    "FirstPhase": "pruning",
    "LateInteraction": "pruning",
    "METHODS": "pruning",
    "MODELS": "models.registry",
    "NoPruning": "pruning",
    "PruningMethod": "pruning",
    "RandomCrop": "pruning",
    "RandomSegments": "pruning",
    "SecondPhase": "pruning",
    "SpeechLM": "inference.speech_lm",
    "SpeechModel": "models.base",
    "SpeechPrune": "pruning",
    "Truncate": "pruning",
}

__all__ = [
    "METHODS",
    "MODELS",
    "Answer",
    "AnsweringOptions",
    "EncodedAudio",
    "EncodingOptions",
    "EvidenceSpan",
    "FirstPhase",
    "LateInteraction",
    "NoPruning",
    "PruningMethod",
    "RandomCrop",
    "RandomSegments",
    "SecondPhase",
    "SpeechLM",
    "SpeechModel",
    "SpeechPrune",
    "Truncate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
