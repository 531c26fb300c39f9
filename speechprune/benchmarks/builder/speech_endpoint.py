"""Speech from any server of OpenAI's speech protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from speechprune.audio import AudioError
from speechprune.benchmarks.builder.endpoint import AttemptFailed, Endpoint, EndpointError, EndpointOptions
from speechprune.benchmarks.builder.speech import SpeechError, Utterance, Voice
from speechprune.benchmarks.builder.utterances import parse_voices, to_utterance

PCM_RATE = 24_000  # of raw 16-bit little-endian mono samples, as the protocol has it


@dataclass(frozen=True, kw_only=True)
class SpeechEndpointOptions(EndpointOptions):
    """A speech endpoint and its voices; see ``EndpointOptions`` for the rest.

    Parameters
    ----------
    voices
        ``name:female`` or ``name:male``, the name as the server knows it.
    response_format
        ``wav``, or ``pcm`` for servers whose WAV is not sound: raw samples at 24 kHz.
    """

    voices: tuple[str, ...]
    response_format: Literal["wav", "pcm"] = "wav"
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not parse_voices(self.voices):
            raise ValueError("voices is empty: list what the endpoint offers, as name:female or name:male")


class SpeechEndpoint:
    """A synthesizer behind ``{base_url}/audio/speech``; it gives no word times. Threads may share it."""

    def __init__(self, options: SpeechEndpointOptions) -> None:
        self._options = options
        self._endpoint = Endpoint(options)
        self._voices = parse_voices(options.voices)

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices of the options."""
        return self._voices

    def reset(self) -> None:
        """Do nothing: requests are independent."""

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence; see ``Synthesizer``."""
        body = {
            "model": self._options.model,
            "voice": voice.name,
            "input": text,
            "response_format": self._options.response_format,
        }
        try:
            return self._endpoint.post("/audio/speech", body, self._read)
        except EndpointError as error:
            raise SpeechError(f"voice {voice.name!r} could not speak {text!r}: {error}") from error

    def _read(self, content: bytes) -> Utterance:
        is_raw = self._options.response_format == "pcm"
        if is_raw and len(content) % 2:
            raise AttemptFailed(f"{len(content)} bytes are no 16-bit samples: cut off?")
        try:
            return to_utterance((np.frombuffer(content, dtype="<i2"), PCM_RATE) if is_raw else content)
        except AudioError as error:
            raise AttemptFailed(
                f"the reply is no speech: {error}", advice="check model, voices and response_format"
            ) from error
