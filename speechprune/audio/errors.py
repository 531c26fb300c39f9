"""What can be wrong with a recording; every message names it and says what to do."""

from __future__ import annotations


class AudioError(ValueError):
    """A recording that can't be used; the message says what is wrong and what to do."""


class AudioNotFound(AudioError):
    """No file at the recording's address."""


class AudioUnreadable(AudioError):
    """A file that can't be decoded as audio."""


class AudioEmpty(AudioError):
    """A recording without a sample in the requested part."""


class AudioSilent(AudioError):
    """A recording in which every sample is zero or nearly zero."""


class AudioTooShort(AudioError):
    """A recording with fewer samples than one audio token needs."""


class AudioWithoutSpeech(AudioError):
    """A recording in which no speech was found."""


def without_speech(recording: str, seconds: float) -> AudioWithoutSpeech:
    """Make the error of a recording; without its name where the caller adds it."""
    of = f" of {recording}" if recording else ""
    return AudioWithoutSpeech(
        f"no speech was found in {seconds:.1f} s of sound{of}: listen to it; what counts as speech is a "
        "matter of encoding.skip_silence and of the model's config.json"
    )
