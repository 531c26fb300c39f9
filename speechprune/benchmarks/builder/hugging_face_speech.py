"""Speech from a text-to-speech model of the Hugging Face hub, or of a local folder."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from speechprune.audio import AudioError
from speechprune.benchmarks.builder.script import Gender
from speechprune.benchmarks.builder.speech import SpeechError, Utterance, Voice
from speechprune.benchmarks.builder.utterances import parse_voices, to_utterance

ONLY_VOICE = "default"  # of a model that has no choice of speakers


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSpeechOptions:
    """A text-to-speech model.

    Parameters
    ----------
    model
        Hub id or folder of a model for the ``text-to-speech`` pipeline that speaks without a reference
        recording: VITS, MMS, Bark.
    voices
        ``0:female``, ``1:male``, ...: the speakers to use, by number. A model does not give its speakers'
        genders, so without a list each of its speakers serves as a woman and as a man.
    device
        Device, as torch names it.
    """

    model: str
    voices: tuple[str, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        parse_voices(self.voices)


class HuggingFaceSpeech:
    """A synthesizer in this process; the same text and voice sound the same. It gives no word times."""

    def __init__(self, options: HuggingFaceSpeechOptions) -> None:
        from transformers import pipeline

        try:
            self._pipeline = pipeline(
                "text-to-speech", model=options.model, device=options.device, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise SpeechError(
                f"{options.model} can't be loaded as a text-to-speech model ({error}): "
                "check its name, and that it is one"
            ) from error
        self._model = options.model
        num_speakers = getattr(self._pipeline.model.config, "num_speakers", 1)
        names = [str(number) for number in range(num_speakers)] if num_speakers > 1 else [ONLY_VOICE]
        self._voices = parse_voices(options.voices) or tuple(
            Voice(name=name, gender=gender) for name in names for gender in get_args(Gender)
        )
        for voice in self._voices:
            if voice.name not in names:
                raise SpeechError(
                    f"{options.model} has no voice {voice.name!r}: its voices are {names[0]} to {names[-1]}"
                )

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices of the options, or else all speakers of the model."""
        return self._voices

    def reset(self) -> None:
        """Do nothing: every sentence is seeded by its own text."""

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence; see ``Synthesizer``."""
        import torch

        forward_params: dict[str, Any] = {}
        if voice.name != ONLY_VOICE:
            forward_params["speaker_id"] = int(voice.name)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(zlib.crc32(f"{voice.name} {text}".encode()))
                spoken = self._pipeline(text, forward_params=forward_params)
            return to_utterance((spoken["audio"], spoken["sampling_rate"]))
        except (AudioError, RuntimeError, ValueError) as error:
            raise SpeechError(f"{self._model} could not speak {text!r}: {error}") from error
