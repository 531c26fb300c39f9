"""The model families, by name: a new family is one file in this room and one line here."""

from __future__ import annotations

import difflib

from speechprune.models.audioflamingo3 import AudioFlamingo3
from speechprune.models.base import SpeechModel
from speechprune.models.cascade import Cascade
from speechprune.models.ctc_cascade import CtcCascade
from speechprune.models.diva import Diva
from speechprune.models.gemma4 import Gemma4
from speechprune.models.granite_speech import GraniteSpeech
from speechprune.models.hub import ModelError
from speechprune.models.phi4_multimodal import Phi4Multimodal
from speechprune.models.qwen2_5_omni import Qwen25Omni
from speechprune.models.qwen2_audio import Qwen2Audio
from speechprune.models.qwen3_omni_moe import Qwen3Omni
from speechprune.models.ultravox import Ultravox
from speechprune.models.voxtral import Voxtral
from speechprune.plugins import import_class, is_import_path

MODELS: dict[str, type[SpeechModel]] = {
    "audioflamingo3": AudioFlamingo3,
    "cascade": Cascade,
    "ctc_cascade": CtcCascade,
    "diva": Diva,
    "gemma4": Gemma4,
    "granite_speech": GraniteSpeech,
    "phi4_multimodal": Phi4Multimodal,
    "qwen2_5_omni": Qwen25Omni,
    "qwen2_audio": Qwen2Audio,
    "qwen3_omni_moe": Qwen3Omni,
    "ultravox": Ultravox,
    "voxtral": Voxtral,
}


def find_family(path: str, model_type: str | None, family: str | None) -> type[SpeechModel]:
    """Find the family of a model.

    ``family``: name in ``MODELS`` or import path that takes precedence; None to go by ``model_type``.

    Raises
    ------
    ModelError
        No such family; the sentence names the nearest.
    """
    if family is not None and is_import_path(family):
        try:
            return import_class(family, SpeechModel, "model.family")  # type: ignore[type-abstract]
        except ValueError as error:
            raise ModelError(str(error)) from error
    if family is not None:
        if family in MODELS:
            return MODELS[family]
        close = difflib.get_close_matches(family, MODELS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"give {', '.join(MODELS)}, or package.module:Class"
        raise ModelError(f"unknown model.family {family!r}: {hint}")
    for kind in MODELS.values():
        if model_type in kind.model_types:
            return kind
    supported = sorted(name for kind in MODELS.values() for name in kind.model_types)
    close = difflib.get_close_matches(str(model_type), supported, n=1)
    hint = f"; the nearest is {close[0]}" if close else ""
    raise ModelError(
        f"model {path} is a {model_type}{hint}; supported families: {', '.join(supported)} "
        "(model.family names one of your own)"
    )
