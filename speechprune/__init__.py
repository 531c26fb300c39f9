"""SpeechPrune: question answering over long recordings by pruning audio tokens.

>>> from speechprune import SpeechLM, SpeechPrune

Names are imported when first used: a worker that only decodes audio never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechprune.inference.encode import EncodedAudio
    from speechprune.inference.evidence import EvidenceSpan
    from speechprune.inference.speech_lm import SpeechLM
    from speechprune.inference.types import Answer, AnsweringOptions
    from speechprune.pruning import (
        FirstPhase,
        NoPruning,
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
    "EvidenceSpan": "inference.evidence",
    "FirstPhase": "pruning",
    "NoPruning": "pruning",
    "RandomCrop": "pruning",
    "RandomSegments": "pruning",
    "SecondPhase": "pruning",
    "SpeechLM": "inference.speech_lm",
    "SpeechPrune": "pruning",
    "Truncate": "pruning",
}

__all__ = [
    "Answer",
    "AnsweringOptions",
    "EncodedAudio",
    "EvidenceSpan",
    "FirstPhase",
    "NoPruning",
    "RandomCrop",
    "RandomSegments",
    "SecondPhase",
    "SpeechLM",
    "SpeechPrune",
    "Truncate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
