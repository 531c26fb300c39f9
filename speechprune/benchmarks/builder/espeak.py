"""espeak-ng's shared library, called in process: text in, 16 kHz samples and word times out.

About a thousand times faster than real time on one core, and after ``reset`` the same bytes for the same
sentences.
Constants, signatures and the event record are those of ``speak_lib.h``.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

import numpy as np
import soxr
import yaml

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.speech import WORD_PATTERN, SpeechError, Utterance, Voice, Word

VOICES_FILE = Path(__file__).with_name("voices.yaml")
SILENCE_LEVEL = 60  # of 32,768: what espeak-ng leaves at the ends of an utterance is below


class _EventId(ctypes.Union):
    _fields_: ClassVar = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def load_voices() -> tuple[Voice, ...]:
    """Load the voices of ``voices.yaml``: every accent with every variant of its group."""
    return tuple(
        Voice(name=f"{accent}+{variant}", gender=gender, group=group)
        for group, sets in yaml.safe_load(VOICES_FILE.read_text()).items()
        for accent in sets["accents"]
        for gender in ("female", "male")
        for variant in sets[gender]
    )


class Espeak:
    """The synthesizer of this process; espeak-ng has one state per process, so make only one.

    Parameters
    ----------
    words_per_minute
        Pace of the voices.
    """

    AUDIO_OUTPUT_SYNCHRONOUS = 2
    PHONEME_EVENTS = 1
    CHARS_UTF8 = 1
    POS_CHARACTER = 1
    RATE, PITCH = 1, 3
    LIST_TERMINATED, WORD, PHONEME = 0, 1, 7

    _library: ClassVar[ctypes.CDLL | None] = None  # of the process: it stays loaded while anyone holds it

    def __init__(self, words_per_minute: int = Voice.words_per_minute) -> None:
        self._voices = tuple(replace(voice, words_per_minute=words_per_minute) for voice in load_voices())
        self._chunks: list[bytes] = []
        self._words: list[tuple[int, int]] = []  # text position, sample
        self._phonemes: list[tuple[str, int]] = []  # name, sample
        self._callback = _Callback(self._collect)  # kept: the library holds only a pointer to it
        self.reset()

    def reset(self) -> None:
        """Load the library again: its output depends on everything that it spoke before.

        Neither seeding nor initialising it again resets its state.
        """
        try:
            import espeakng_loader
        except ImportError as error:
            raise SpeechError("espeak-ng is not installed: pip install espeakng-loader") from error
        if Espeak._library is not None:
            Espeak._library.espeak_Terminate()
            _ctypes.dlclose(Espeak._library._handle)
        Espeak._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self._rate = Espeak._library.espeak_Initialize(
            self.AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, self.PHONEME_EVENTS
        )
        if self._rate <= 0:
            raise SpeechError("espeak-ng did not start: reinstall it with `pip install espeakng-loader`")
        Espeak._library.espeak_SetSynthCallback(self._callback)
        self._variants = {file.name for file in (Path(data_path.decode()) / "voices" / "!v").iterdir()}

    @property
    def voices(self) -> Sequence[Voice]:
        """All voices of both groups."""
        return self._voices

    def _collect(self, samples: int | None, num_samples: int, events: ctypes.Array) -> int:
        if samples:
            self._chunks.append(ctypes.string_at(samples, 2 * num_samples))
        for number in range(1 << 16):
            event = events[number]
            if event.type == self.LIST_TERMINATED:
                break
            if event.type == self.WORD:
                self._words.append((event.text_position - 1, event.sample))
            elif event.type == self.PHONEME:
                self._phonemes.append((event.id.string.decode("utf-8", "replace"), event.sample))
        return 0

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence; see ``Synthesizer``."""
        assert self._library is not None
        _, plus, variant = voice.name.partition("+")
        known = not plus or variant in self._variants  # espeak-ng takes an unknown variant for none
        if not known or self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise SpeechError(f"espeak-ng has no voice {voice.name!r}")
        self._library.espeak_SetParameter(self.RATE, voice.words_per_minute, 0)
        self._library.espeak_SetParameter(self.PITCH, voice.pitch, 0)
        self._library.espeak_ng_SetRandSeed(1)  # some voices have random breath in them
        for buffer in (self._chunks, self._words, self._phonemes):
            buffer.clear()
        data = ctypes.create_string_buffer(text.encode())
        size = ctypes.c_size_t(ctypes.sizeof(data))
        if self._library.espeak_Synth(data, size, 0, self.POS_CHARACTER, 0, self.CHARS_UTF8, None, None) != 0:
            raise SpeechError(f"espeak-ng could not speak {text!r}")
        own_rate = np.frombuffer(b"".join(self._chunks), dtype=np.int16)
        loud = np.flatnonzero(np.abs(own_rate.astype(np.int32)) > SILENCE_LEVEL)
        if len(loud) == 0:
            raise SpeechError(f"espeak-ng made no sound of {text!r}")
        begin, end = int(loud[0]), int(loud[-1]) + 1
        samples = own_rate[begin:end]
        if self._rate != SAMPLE_RATE:
            # in float: soxr's int16 path dithers by what it did before
            resampled = soxr.resample(samples.astype(np.float32), self._rate, SAMPLE_RATE)
            samples = np.rint(np.clip(resampled, -32768, 32767)).astype(np.int16)

        def seconds(sample: int) -> float:
            return (min(max(sample, begin), end) - begin) / self._rate

        starts = [(position, seconds(sample)) for position, sample in self._words]
        sounds = _spans_of(
            [(name, seconds(sample)) for name, sample in self._phonemes], (end - begin) / self._rate
        )
        pauses = [sound.start for sound in sounds if sound.text.startswith("_")]
        return Utterance(
            samples=samples,
            words=_words_of(text, starts, pauses, (end - begin) / self._rate),
            phonemes=sounds,
        )


def _words_of(
    text: str, starts: list[tuple[int, float]], pauses: list[float], total_seconds: float
) -> tuple[Word, ...]:
    """Time every word of `text`; it ends where the next word or a pause begins.

    espeak-ng speaks some neighbours as one ("of the"), with one event: such share the time by length. Within
    a long number it gives events that point back into it; the number's first one counts.
    """
    words = [(match.start(), match.group()) for match in WORD_PATTERN.finditer(text)]
    furthest = accumulate((position for position, _ in starts), max, initial=-1)
    starts = [start for start, before in zip(starts, furthest, strict=False) if start[0] > before]
    groups: list[tuple[float, list[str]]] = []
    for number, (position, moment) in enumerate(starts):
        following = starts[number + 1][0] if number + 1 < len(starts) else len(text)
        group = [word for at, word in words if (position <= at or number == 0) and at < following]
        if group:
            groups.append((moment, group))
    spoken = []
    for number, (moment, group) in enumerate(groups):
        end = groups[number + 1][0] if number + 1 < len(groups) else total_seconds
        end = min([pause for pause in pauses if moment < pause < end], default=end)
        letters = sum(map(len, group))
        for word in group:
            duration = (end - moment) * len(word) / letters if letters else 0.0
            spoken.append(Word(text=word, start=moment, end=moment + duration))
            moment, letters = moment + duration, letters - len(word)
    return tuple(spoken)


def _spans_of(sounds: list[tuple[str, float]], total_seconds: float) -> tuple[Word, ...]:
    """Phonemes from their beginnings; each lasts until the next."""
    ends = [moment for _, moment in sounds[1:]] + [total_seconds]
    return tuple(
        Word(text=name, start=start, end=end) for (name, start), end in zip(sounds, ends, strict=True)
    )
