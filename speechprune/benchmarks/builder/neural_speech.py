"""Neural voices in ONNX, run without Piper's or Kokoro's own code: sessions, and words timed by phonemes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.benchmarks.builder.speech import WORD_PATTERN, SpeechError, Utterance, Word
from speechprune.benchmarks.builder.utterances import sound_span

SEED = 1  # of the noise from which a voice makes its melody and rhythm
START, STOP = "^", "$"  # what a model has before the first phoneme and behind the last
NO_SOUND = frozenset(f'{START}{STOP} ,.;:!?—…"()“”')  # phonemes of which no word is made


def load_session(path: Path, durations: str) -> Any:
    """Load a voice; its last output is the layer `durations`, frames per phoneme, where it has that layer.

    Raises
    ------
    SpeechError
        The file is no model of ONNX.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a sum over threads would depend on their number
    # ONNX is protobuf, where bytes behind a message are merged into it: here graph { output { name } }
    one_more_output = _field(7, _field(12, _field(1, durations.encode())))
    content = path.read_bytes()
    failure: Exception | None = None
    for model in (content + one_more_output, content):
        onnxruntime.set_seed(SEED)
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            failure = error
    raise SpeechError(f"{path} can't be loaded as a voice ({failure}): get the file again") from failure


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf: number and kind, length, content."""
    return bytes([number << 3 | 2, len(content)]) + content


def timed_utterance(
    text: str,
    sound: np.ndarray,
    rate: int,
    durations: Iterable[tuple[str, float]],
    phonemize: Callable[[str], Iterable[str]],
) -> Utterance:
    """Make an utterance of a voice's sound, cut at both ends, with the times of its words.

    Parameters
    ----------
    text
        What is spoken.
    sound
        float32, shape ``(num_samples,)``.
    rate
        Samples a second.
    durations
        Every phoneme of `sound` with its seconds; none if the voice does not give them.
    phonemize
        Phonemes of a text.

    Raises
    ------
    speechprune.audio.AudioError
        There is no sound.
    """
    samples = decode_audio((sound, rate))
    begin, end = sound_span(samples)

    def within(moment: float) -> float:
        return (min(max(round(moment * SAMPLE_RATE), begin), end) - begin) / SAMPLE_RATE

    words = _words(text, _sounds(durations), phonemize)
    return Utterance(
        samples=samples[begin:end],
        words=tuple(replace(word, start=within(word.start), end=within(word.end)) for word in words),
    )


def _sounds(durations: Iterable[tuple[str, float]]) -> list[Word]:
    """Phonemes that sound, with their times; a space counts to the one before it."""
    sounds: list[Word] = []
    moment = 0.0
    for phoneme, seconds in durations:
        end = moment + seconds
        if phoneme == " " and sounds and sounds[-1].end == moment:
            sounds[-1] = replace(sounds[-1], end=end)
        elif phoneme not in NO_SOUND:
            sounds.append(Word(text=phoneme, start=moment, end=end))
        moment = end
    return sounds


def _words(text: str, sounds: Sequence[Word], phonemize: Callable[[str], Iterable[str]]) -> list[Word]:
    """Time the words of `text`: their phonemes, each word by itself, aligned with those of the sentence.

    The fewest edits align them: in a sentence some words sound otherwise or are spoken as one ("of the").
    """
    if not sounds:
        return []
    words = WORD_PATTERN.findall(text)
    alone = [[phoneme for phoneme in phonemize(word) if phoneme not in NO_SOUND] for word in words]
    borders = np.cumsum([0, *map(len, alone)])
    edits = Levenshtein.editops([phoneme for word in alone for phoneme in word], [s.text for s in sounds])
    blocks = edits.as_matching_blocks()  # the last one is empty, at both ends
    ours = [place for block in blocks for place in (block.a, block.a + block.size)]
    theirs = [place for block in blocks for place in (block.b, block.b + block.size)]
    places = np.rint(np.interp(borders, [0, *ours], [0, *theirs])).astype(int).tolist()
    starts = [*(sound.start for sound in sounds), sounds[-1].end]
    return [
        Word(text=word, start=starts[first], end=sounds[last - 1].end if last > first else starts[first])
        for word, first, last in zip(words, places, places[1:], strict=False)
    ]
