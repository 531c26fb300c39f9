"""Speech from Piper's voices, neural models in ONNX: text in, 16 kHz samples and word times out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from speechprune.audio import AudioError
from speechprune.benchmarks.builder.neural_speech import load_session, timed_utterance
from speechprune.benchmarks.builder.script import Gender
from speechprune.benchmarks.builder.speech import SpeechError, Utterance, Voice

DURATIONS = "/Ceil_output_0"  # name of the layer in Piper's exports


@dataclass(frozen=True, kw_only=True)
class PiperOptions:
    """Piper's voices, by gender; a voice may stand in both lists.

    Parameters
    ----------
    female, male
        Voice files (``en_US-amy-medium.onnx``, its ``.onnx.json`` beside it), or folders that hold one, such
        as ``fetched://piper-en-us-joe``. ``FILE#p225`` is one speaker of a file of many, by its name there;
        without it all of them are used.
    """

    female: tuple[str, ...]
    male: tuple[str, ...]

    def __post_init__(self) -> None:
        for gender in get_args(Gender):
            if not getattr(self, gender):
                raise ValueError(f"{gender} is empty: list a voice, which may be one of the other list")


@dataclass(frozen=True)
class _Source:
    """A speaker of a voice file."""

    path: Path
    speaker: int | None


class PiperSpeech:
    """A synthesizer in this process; after ``reset`` the same samples for the same sentences.

    Word times are those of the voice's own phoneme durations.
    """

    def __init__(self, options: PiperOptions) -> None:
        self._sources: dict[str, _Source] = {}
        self._models: dict[Path, Any] = {}
        self._voices = tuple(
            Voice(name=name, gender=gender)
            for gender in get_args(Gender)
            for entry in getattr(options, gender)
            for name in self._add(entry)
        )

    def _add(self, entry: str) -> list[str]:
        """Load a voice file; returns the names of its speakers that `entry` asks for."""
        place, _, wanted = entry.partition("#")
        path = _voice_file(Path(place))
        config = self._model(path).config
        speakers: dict[str, int | None] = dict(config.speaker_id_map) or {
            str(number): number for number in range(config.num_speakers)
        }
        if wanted and wanted not in speakers:
            names = list(speakers)
            raise SpeechError(f"{path} has no speaker {wanted!r}: its speakers are {names[0]} to {names[-1]}")
        if config.num_speakers == 1:
            sources = {path.stem: _Source(path, None)}
        else:
            chosen = [wanted] if wanted else speakers
            sources = {f"{path.stem}#{name}": _Source(path, speakers[name]) for name in chosen}
        for name, source in sources.items():
            if self._sources.setdefault(name, source) != source:
                raise SpeechError(f"two voices are named {name}: give one of the files another name")
        return list(sources)

    def _model(self, path: Path) -> Any:
        if path not in self._models:
            self._models[path] = _load(path)
        return self._models[path]

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices of the options."""
        return self._voices

    def reset(self) -> None:
        """Load voices again when they next speak: the noise of a sentence depends on those before it."""
        self._models.clear()

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence; see ``Synthesizer``."""
        from piper import SynthesisConfig

        source = self._sources[voice.name]
        model = self._model(source.path)
        settings = SynthesisConfig(
            speaker_id=source.speaker,
            length_scale=model.config.length_scale * Voice.words_per_minute / voice.words_per_minute,
            normalize_audio=False,  # one loudness for all parts of a text
        )
        chunks = list(model.synthesize(text, settings, include_alignments=True))
        sound = np.concatenate([chunk.audio_float_array for chunk in chunks] or [np.zeros(0, np.float32)])
        rate = model.config.sample_rate

        def phonemize(words: str) -> Iterator[str]:
            return itertools.chain.from_iterable(model.phonemize(words))

        timed = [chunk.phoneme_alignments for chunk in chunks]
        phonemes = [] if None in timed else itertools.chain.from_iterable(timed)
        durations = [(phoneme.phoneme, phoneme.num_samples / rate) for phoneme in phonemes]
        try:
            return timed_utterance(text, sound, rate, durations, phonemize)
        except AudioError as error:
            raise SpeechError(f"the voice {voice.name!r} could not speak {text!r}: {error}") from error


def _voice_file(path: Path) -> Path:
    """Return the voice file itself where its folder is named."""
    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise SpeechError(f"{path} is no Piper voice: give an .onnx file, or a folder with one in it")
    return files[0]


def _load(path: Path) -> Any:
    """Load a voice as ``piper.PiperVoice``; it gives durations where the file has the layer for them."""
    from piper import PiperConfig, PiperVoice

    settings = Path(f"{path}.json")
    try:
        config = PiperConfig.from_dict(json.loads(settings.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpeechError(
            f"{settings} can't be read as a Piper voice's settings ({type(error).__name__}: {error}): "
            "get it from where the voice is from"
        ) from error
    return PiperVoice(load_session(path, DURATIONS), config)
