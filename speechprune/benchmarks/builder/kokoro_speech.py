"""Speech from Kokoro's voices: one neural model of 82 M parameters for all of them, in ONNX."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from speechprune.audio import AudioError
from speechprune.benchmarks.builder.neural_speech import START, STOP, load_session, timed_utterance
from speechprune.benchmarks.builder.script import Gender
from speechprune.benchmarks.builder.speech import SpeechError, Utterance, Voice

RATE = 24_000
FRAME_SECONDS = 600 / RATE  # unit of the phonemes' durations
DURATIONS = "/encoder/Clip_output_0"  # name of the layer in Kokoro's exports
GENDERS: dict[str, Gender] = {"f": "female", "m": "male"}  # second letter of a voice's name
PAD = 0  # token before the first phoneme and behind the last


@dataclass(frozen=True, kw_only=True)
class KokoroOptions:
    """Kokoro and its voices.

    Parameters
    ----------
    model
        Folder with the model (``*.onnx``), ``voices.npz`` and ``vocab.json``, such as ``fetched://kokoro-82m``.
    voices
        Names of the voices to use (``af_heart``), whose second letter is the gender; none: all of them.
    """

    model: str
    voices: tuple[str, ...] = ()


class KokoroSpeech:
    """A synthesizer in this process; the same text and voice sound the same, and words have times.

    Its phonemes are those of espeak-ng's American English, whatever language a voice is of.
    """

    def __init__(self, options: KokoroOptions) -> None:
        from piper.phonemize_espeak import EspeakPhonemizer

        self._folder = Path(options.model)
        try:
            (path,) = self._folder.glob("*.onnx")
            with np.load(self._folder / "voices.npz") as styles:
                self._styles = dict(styles)
            self._tokens: dict[str, int] = json.loads((self._folder / "vocab.json").read_bytes())["vocab"]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise SpeechError(
                f"{self._folder} is no folder of Kokoro ({error}): it must hold one .onnx file, "
                "voices.npz and vocab.json"
            ) from error
        names = options.voices or tuple(self._styles)
        for name in names:
            if name not in self._styles or name[1:2] not in GENDERS:
                raise SpeechError(
                    f"{self._folder} has no voice {name!r}: its voices are {', '.join(self._styles)}"
                )
        self._voices = tuple(Voice(name=name, gender=GENDERS[name[1]]) for name in names)
        self._session = load_session(path, DURATIONS)
        self._phonemizer = EspeakPhonemizer()

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices of the options."""
        return self._voices

    def reset(self) -> None:
        """Do nothing: sentences are independent."""

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence; see ``Synthesizer``."""
        speed = np.array([voice.words_per_minute / Voice.words_per_minute], np.float32)
        styles = self._styles[voice.name]  # one for each number of phonemes
        sounds, durations = [np.zeros(0, np.float32)], list[tuple[str, float]]()
        for phonemes in self._phonemize(text):
            if len(phonemes) > len(styles):
                raise SpeechError(
                    f"{text!r} has a sentence of {len(phonemes)} phonemes, and Kokoro speaks at most "
                    f"{len(styles)}: split it"
                )
            tokens = np.array([[PAD, *(self._tokens[phoneme] for phoneme in phonemes), PAD]])
            inputs = {"tokens": tokens, "style": styles[len(phonemes) - 1].reshape(1, -1), "speed": speed}
            sound, *frames = self._session.run(None, inputs)
            sounds.append(sound.ravel())
            for lengths in frames:
                seconds = (lengths.ravel() * FRAME_SECONDS).tolist()
                durations += zip([START, *phonemes, STOP], seconds, strict=True)

        def phonemize(words: str) -> Iterator[str]:
            return itertools.chain.from_iterable(self._phonemize(words))

        try:
            return timed_utterance(text, np.concatenate(sounds), RATE, durations, phonemize)
        except AudioError as error:
            raise SpeechError(f"the voice {voice.name!r} could not speak {text!r}: {error}") from error

    def _phonemize(self, text: str) -> list[list[str]]:
        """Phonemes that the model knows, by sentence."""
        sentences = self._phonemizer.phonemize("en-us", text)
        known = [[phoneme for phoneme in sentence if phoneme in self._tokens] for sentence in sentences]
        return [sentence for sentence in known if sentence]
