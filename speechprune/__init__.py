"""SpeechPrune: question answering over long recordings by pruning audio tokens.

>>> from speechprune import SpeechLM, SpeechPrune
"""

from speechprune.answering import Answer, AnsweringOptions
from speechprune.encoding import EncodedAudio
from speechprune.evidence import EvidenceSpan
from speechprune.pruning import (
    FirstPhase,
    NoPruning,
    RandomCrop,
    RandomSegments,
    SecondPhase,
    SpeechPrune,
    Truncate,
)
from speechprune.speech_lm import SpeechLM

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
