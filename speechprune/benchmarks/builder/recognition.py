"""Word error rate of a benchmark's speech by any Hugging Face speech recogniser, as in the paper's II-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from speechprune.audio import SAMPLE_RATE

CHUNK_SECONDS = 30  # of models that can't go through a long recording by themselves


class Recogniser:
    """A speech recogniser of the Hugging Face hub, or of a local folder, on a GPU where there is one.

    Parameters
    ----------
    path
        Hub id or folder, such as ``openai/whisper-large-v3``.
    """

    def __init__(self, path: str) -> None:
        import torch
        from transformers import pipeline

        is_cuda = torch.cuda.is_available()
        self._pipeline: Any = pipeline(
            "automatic-speech-recognition",
            model=path,
            device="cuda" if is_cuda else "cpu",
            dtype="auto" if is_cuda else torch.float32,  # float16, as many are published, crawls on a CPU
            trust_remote_code=False,
        )
        self._options: dict[str, Any] = {"chunk_length_s": CHUNK_SECONDS}
        if self._pipeline.model.config.model_type == "whisper":
            is_multilingual = self._pipeline.model.generation_config.is_multilingual
            # Whisper finds its own way through a long recording by the times that it writes
            self._options = {
                "return_timestamps": True,
                "generate_kwargs": {"num_beams": 1}
                | ({"language": "en", "task": "transcribe"} if is_multilingual else {}),
            }

    def __call__(self, samples: np.ndarray) -> str:
        """Transcribe int16 samples at 16 kHz of any length."""
        waveform = samples.astype(np.float32) / 32768
        inputs = {"raw": waveform, "sampling_rate": SAMPLE_RATE}
        transcript: str = self._pipeline(inputs, **self._options)["text"]
        return transcript


def check_recogniser(path: str) -> None:
    """Check without loading its weights that the model exists.

    Raises
    ------
    ValueError
        It doesn't exist, or can't be reached.
    """
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"quality.asr_model {path} can't be loaded: {reason}") from error


def word_error_rate(
    recognise: Callable[[np.ndarray], str], spoken: Iterable[tuple[np.ndarray, str]]
) -> float:
    """Return word errors over words of the reference, all recordings together.

    Parameters
    ----------
    recognise
        Function from samples to text, such as a ``Recogniser``.
    spoken
        Samples and reference text of each recording.
    """
    num_errors = num_words = 0
    for samples, text in spoken:
        reference = normalise_words(text)
        num_errors += Levenshtein.distance(reference, normalise_words(recognise(samples)))
        num_words += len(reference)
    return num_errors / num_words


def normalise_words(text: str) -> list[str]:
    """Words as Whisper's evaluation counts them: no case, punctuation or fillers, numbers in digits."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    words: list[str] = EnglishTextNormalizer({})(text).split()
    return words
