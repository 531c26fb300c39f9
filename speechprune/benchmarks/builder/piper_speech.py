"""Speech from Piper's voices, neural models in ONNX: text in, 16 kHz samples and word times out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rapidfuzz.distance import Levenshtein

from speechprune.audio import SAMPLE_RATE, AudioError, decode_audio
from speechprune.benchmarks.builder.script import Gender
from speechprune.benchmarks.builder.speech import WORD_PATTERN, SpeechError, Utterance, Voice, Word
from speechprune.benchmarks.builder.utterances import sound_span

SEED = 1  # of the noise from which a voice makes its melody and rhythm
# The layer that gives how many frames of sound each phoneme lasts. ONNX is protobuf, where bytes behind a
# message are merged into it: these make the layer an output, graph (7) { output (12) { name (1) } }.
DURATIONS = b"\x3a\x12\x62\x10\x0a\x0e" + b"/Ceil_output_0"
NO_SOUND = frozenset("^$ ,.;:!?")  # Piper's phonemes that no word is made of


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

        if voice.name not in self._sources:
            raise SpeechError(f"there is no Piper voice {voice.name!r}: add it to piper.female or piper.male")
        source = self._sources[voice.name]
        model = self._model(source.path)
        settings = SynthesisConfig(
            speaker_id=source.speaker,
            length_scale=model.config.length_scale * Voice.words_per_minute / voice.words_per_minute,
            normalize_audio=False,  # one loudness for all parts of a text
        )
        chunks = list(model.synthesize(text, settings, include_alignments=True))
        try:
            sound = np.concatenate([chunk.audio_float_array for chunk in chunks] or [np.zeros(0, np.float32)])
            samples = decode_audio((sound, model.config.sample_rate))
        except AudioError as error:
            raise SpeechError(f"the voice {voice.name!r} could not speak {text!r}: {error}") from error
        begin, end = sound_span(samples)
        words = _words(text, _sounds(chunks, model.config.sample_rate), model)
        return Utterance(samples=samples[begin:end], words=tuple(_within(word, begin, end) for word in words))


def _voice_file(path: Path) -> Path:
    """Return the voice file itself where its folder is named."""
    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise SpeechError(f"{path} is no Piper voice: give an .onnx file, or a folder with one in it")
    return files[0]


def _load(path: Path) -> Any:
    """Load a voice as ``piper.PiperVoice``; it gives durations where the file has the layer for them."""
    import onnxruntime
    from piper import PiperConfig, PiperVoice

    settings = Path(f"{path}.json")
    try:
        config = PiperConfig.from_dict(json.loads(settings.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpeechError(
            f"{settings} can't be read as a Piper voice's settings ({type(error).__name__}: {error}): "
            "get it from where the voice is from"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a sum over threads would depend on their number
    content = path.read_bytes()
    failure: Exception | None = None
    for model in (content + DURATIONS, content):
        onnxruntime.set_seed(SEED)
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            failure = error
        else:
            return PiperVoice(session, config)
    raise SpeechError(f"{path} can't be loaded as a Piper voice ({failure}): get the file again") from failure


def _sounds(chunks: list[Any], rate: int) -> list[Word]:
    """Phonemes with their seconds, a space counted to the one before; empty without durations."""
    sounds: list[Word] = []
    moment = 0.0
    for chunk in chunks:
        if chunk.phoneme_alignments is None:
            return []
        for phoneme in chunk.phoneme_alignments:
            end = moment + int(phoneme.num_samples) / rate
            if phoneme.phoneme == " " and sounds and sounds[-1].end == moment:
                sounds[-1] = replace(sounds[-1], end=end)
            elif phoneme.phoneme not in NO_SOUND:
                sounds.append(Word(text=phoneme.phoneme, start=moment, end=end))
            moment = end
    return sounds


def _words(text: str, sounds: list[Word], model: Any) -> list[Word]:
    """Time the words of `text`: their phonemes, each word by itself, aligned with those of the sentence.

    The fewest edits align them: in a sentence some words sound otherwise or are spoken as one ("of the").
    """
    if not sounds:
        return []
    words = WORD_PATTERN.findall(text)
    alone = [[p for part in model.phonemize(word) for p in part if p not in NO_SOUND] for word in words]
    borders = np.cumsum([0, *map(len, alone)])
    edits = Levenshtein.editops([p for sound in alone for p in sound], [sound.text for sound in sounds])
    blocks = edits.as_matching_blocks()  # the last one is empty, at both ends
    ours = [place for block in blocks for place in (block.a, block.a + block.size)]
    theirs = [place for block in blocks for place in (block.b, block.b + block.size)]
    places = np.rint(np.interp(borders, [0, *ours], [0, *theirs])).astype(int).tolist()
    starts = [*(sound.start for sound in sounds), sounds[-1].end]
    return [
        Word(text=word, start=starts[first], end=sounds[last - 1].end if last > first else starts[first])
        for word, first, last in zip(words, places, places[1:], strict=False)
    ]


def _within(word: Word, begin: int, end: int) -> Word:
    """The word's seconds in the samples from `begin` to `end`."""
    start, stop = (
        (min(max(round(moment * SAMPLE_RATE), begin), end) - begin) / SAMPLE_RATE
        for moment in (word.start, word.end)
    )
    return replace(word, start=start, end=stop)
