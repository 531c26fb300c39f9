"""The demo model's own family, for those parts of the lab that need Hugging Face's modules."""

from __future__ import annotations

from speechprune.inference.speech_lm import SpeechLM
from speechprune.models.qwen2_audio import Qwen2Audio


def as_qwen2_audio(lm: SpeechLM) -> Qwen2Audio:
    """Return the loaded model as what it is.

    Raises
    ------
    TypeError
        It is of another family.
    """
    if not isinstance(lm.model, Qwen2Audio):
        raise TypeError(f"{lm.model.name} is no Qwen2-Audio model")
    return lm.model
