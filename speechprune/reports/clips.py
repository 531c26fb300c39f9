"""Clips of a run's evidence: which seconds fit into a budget, their sound as Opus files, their envelopes."""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from speechprune.audio import SAMPLE_RATE, decode_audio

CONTEXT_SECONDS = 4.0  # before and after a span: a sentence begins before the word that matters
BIT_RATE = 24_000  # constant, so that a clip's size is known before it is made
BYTES_PER_SECOND = 3_150  # of the file: the packets, and what Ogg adds to them
HEADER_BYTES = 1_000
NUM_PEAKS = 600  # of a recording's envelope
PEAKS_PER_SECOND = 20  # of a clip's
FULL_SCALE = 100  # of envelopes, which are whole numbers

Key = TypeVar("Key", bound=Hashable)


class Recording(NamedTuple):
    """What of a recording was asked about: items that agree in it share clips."""

    audio: str
    # start, end: of the slice, in seconds of the recording; None for its beginning and its end
    start: float | None
    end: float | None
    track: int | None


class Seconds(NamedTuple):
    """A span of a recording."""

    start: float
    end: float


@dataclass(frozen=True)
class Clip:
    """A piece of a recording: where it is, its envelope, and an Ogg Opus file of it."""

    start: float
    end: float
    envelope: list[int]
    opus: bytes


@dataclass(frozen=True)
class Sound:
    """The envelope of a recording, and clips of it."""

    end: float
    envelope: list[int]
    clips: list[Clip]


def plan_clips(wanted: Iterable[tuple[Key, Sequence[Seconds]]], num_bytes: float) -> dict[Key, list[Seconds]]:
    """Choose the seconds that clips are made of, by recording, within a budget.

    Spans get ``CONTEXT_SECONDS`` around them and are joined where they overlap, also with those of other
    items of the recording.

    Parameters
    ----------
    wanted
        A recording with the spans of one item, the most urgent item first. An item whose spans don't fit
        any more is left out as a whole.
    num_bytes
        Size of all clips together, at most.
    """
    chosen: dict[Key, list[Seconds]] = {}
    left = num_bytes
    for key, spans in wanted:
        padded = [Seconds(max(0.0, a - CONTEXT_SECONDS), b + CONTEXT_SECONDS) for a, b in spans]
        before = chosen.get(key, [])
        joined = join([*before, *padded])
        more = _num_bytes(joined) - _num_bytes(before)
        if joined and more <= left:
            chosen[key] = joined
            left -= more
    return chosen


def join(spans: Iterable[Seconds]) -> list[Seconds]:
    """Spans in order, those that overlap or touch as one."""
    joined: list[Seconds] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1].end:
            joined[-1] = Seconds(joined[-1].start, max(end, joined[-1].end))
        else:
            joined.append(Seconds(start, end))
    return joined


def _num_bytes(spans: Sequence[Seconds]) -> float:
    return sum(HEADER_BYTES + BYTES_PER_SECOND * (end - start) for start, end in spans)


def read_sound(recording: Recording, spans: Iterable[Seconds]) -> Sound:
    """Decode a recording once, and make its envelope and clips of the spans, as far as they lie in it.

    Raises
    ------
    AudioError
        It can't be read any more.
    """
    audio, start, end, track = recording
    samples = decode_audio(audio, start=start, end=end, track=track)
    begin = start or 0.0
    clips = []
    for span in spans:
        first, last = (max(0, round((second - begin) * SAMPLE_RATE)) for second in span)
        piece = samples[first:last]
        if len(piece):
            seconds = len(piece) / SAMPLE_RATE
            envelope = envelope_of(piece, max(2, round(seconds * PEAKS_PER_SECOND)))
            place = begin + first / SAMPLE_RATE
            clips.append(Clip(place, place + seconds, envelope, as_opus(piece)))
    return Sound(begin + len(samples) / SAMPLE_RATE, envelope_of(samples, NUM_PEAKS), clips)


def envelope_of(samples: np.ndarray, num_peaks: int) -> list[int]:
    """The peak of each of equal parts, 0 to ``FULL_SCALE``, the loudest at its end."""
    edges = np.unique(np.linspace(0, len(samples), num_peaks, endpoint=False).astype(int))
    highest, lowest = (own.reduceat(samples, edges).astype(float) for own in (np.maximum, np.minimum))
    peaks = np.maximum(highest, -lowest)
    return [int(peak) for peak in np.round(FULL_SCALE * peaks / max(1.0, peaks.max()))]


def as_opus(samples: np.ndarray) -> bytes:
    """Encode int16 samples at 16 kHz as an Ogg Opus file, which browsers play."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        options = {"vbr": "off", "application": "voip", "compression_level": "5"}
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", options=options)
        stream.bit_rate = BIT_RATE
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()
