"""Speech alone, as Silero VAD finds it, and the map from its samples to those of the recording."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechprune.audio.decode import AudioSource, decode_audio, source_name
from speechprune.audio.errors import without_speech
from speechprune.audio.resample import SAMPLE_RATE

CHUNK_SAMPLES = 512  # one probability each
CONTEXT_SAMPLES = 64  # of the chunk before it, which Silero VAD reads too
BLOCK_CHUNKS = 512  # computed at a time: 16 s
# speech begins at the first probability, and may end below the second
SPEECH_PROBABILITY, SILENCE_PROBABILITY = 0.5, 0.35
MIN_SILENCE_SECONDS = 2.0  # shorter pauses stay, as in faster-whisper, whose numbers all of these are
MARGIN_SECONDS = 0.4  # of sound that stays on both sides of speech
LONGEST_PART_SECONDS = 1.0  # of a token that has a time of its own inside a window


@dataclass(frozen=True)
class Speech:
    """Places in a recording of the samples that were kept: stretches of speech, one behind the other.

    Parameters
    ----------
    starts
        First sample of each stretch, in the decoded recording.
    lengths
        Number of samples of each.
    num_samples
        Length of the decoded recording, silence included.
    peak
        Of the decoded recording, in int16 steps.
    """

    starts: list[int]
    lengths: list[int]
    num_samples: int
    peak: int

    @property
    def num_kept(self) -> int:
        """Number of samples that were kept."""
        return sum(self.lengths)

    def to_recording(self, times: np.ndarray, start_seconds: float) -> np.ndarray:
        """Move times of tokens from the kept samples to the recording.

        A token across a cut gets the part of it in the stretch where its middle lies. One that is longer
        than ``LONGEST_PART_SECONDS``, of a family whose tokens have the time of their window, runs from its
        first stretch to its last.

        Parameters
        ----------
        times
            Start and end of each token, as if the kept samples were the recording, in seconds, ``(N, 2)``.
        start_seconds
            Time at which the decoded recording starts, in both.

        Returns
        -------
        numpy.ndarray
            float64, ``(N, 2)``: starts ascend where those of ``times`` do.
        """
        starts, lengths = (np.array(own, np.float64) / SAMPLE_RATE for own in (self.starts, self.lengths))
        firsts = np.cumsum(lengths) - lengths
        begins, ends = (times - start_seconds).T
        middles, is_long = (begins + ends) / 2, ends - begins > LONGEST_PART_SECONDS
        first = np.searchsorted(firsts, np.where(is_long, begins, middles), side="right") - 1
        last = np.where(is_long, np.searchsorted(firsts, ends) - 1, first)
        moved = np.stack(
            [
                np.maximum(begins - firsts[first], 0.0) + starts[first],
                np.minimum(ends - firsts[last], lengths[last]) + starts[last],
            ],
            axis=1,
        )
        return moved + start_seconds

    def reached(self, num_kept: int) -> int:
        """Return how many samples of the recording lie up to the end of some number of kept ones.

        Silence between two stretches belongs to what follows it; behind the last, to the recording's end.
        """
        if num_kept >= self.num_kept:
            return self.num_samples
        ends = np.cumsum(self.lengths)
        stretch = int(np.searchsorted(ends, num_kept))
        return self.starts[stretch] + self.lengths[stretch] - int(ends[stretch] - num_kept)


def decode_speech(
    source: AudioSource, detector: bytes, *, part_of: float | None = None, **span: Any
) -> tuple[np.ndarray, Speech]:
    """Decode a recording, or a slice of it, and keep its speech alone.

    Kept samples are moved together in place: memory stays as that of ``decode_audio``.

    Parameters
    ----------
    source, part_of, **span
        As for ``decode_audio``.
    detector
        Silero VAD as an ONNX file, of the form that takes a sequence of chunks.

    Returns
    -------
    tuple
        The samples that were kept, int16, shape ``(samples,)``, and their places.

    Raises
    ------
    AudioError
        As ``decode_audio``; ``AudioWithoutSpeech`` where there is no speech, but in one of several parts.
    """
    samples = decode_audio(source, part_of=part_of, **span)
    kept, speech = keep_stretches(samples, speech_stretches(probabilities(samples, detector), len(samples)))
    if not len(kept) and part_of is None:
        raise without_speech(source_name(source), len(samples) / SAMPLE_RATE)
    return kept, speech


def keep_stretches(samples: np.ndarray, stretches: list[tuple[int, int]]) -> tuple[np.ndarray, Speech]:
    """Move stretches, (begin, end) in samples, to the front of an array; return these and their places."""
    peak = max(int(samples.max()), -int(samples.min())) if len(samples) else 0
    speech = Speech(
        [begin for begin, _ in stretches], [end - begin for begin, end in stretches], len(samples), peak
    )
    at = 0
    for begin, end in stretches:
        samples[at : at + end - begin] = samples[begin:end]
        at += end - begin
    return samples[:at], speech


def speech_stretches(chunk_probabilities: np.ndarray, num_samples: int) -> list[tuple[int, int]]:
    """Join chunks to stretches of speech with their margins, (begin, end) in samples, ascending.

    - ``chunk_probabilities``: of speech, one a chunk.
    """
    is_sure = (chunk_probabilities >= SPEECH_PROBABILITY) | (chunk_probabilities < SILENCE_PROBABILITY)
    # a chunk between the two probabilities is what the last sure one before it is
    last_sure = np.maximum.accumulate(np.where(is_sure, np.arange(len(is_sure)), -1))
    is_speech = (last_sure >= 0) & (chunk_probabilities[last_sure] >= SPEECH_PROBABILITY)
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False)) * CHUNK_SAMPLES
    begins, ends = edges[::2], edges[1::2]
    is_apart = begins[1:] - ends[:-1] >= MIN_SILENCE_SECONDS * SAMPLE_RATE
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    first = np.maximum(begins[np.append(True, is_apart)[: len(begins)]] - margin, 0)
    last = np.minimum(ends[np.append(is_apart, True)[: len(ends)]] + margin, num_samples)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def probabilities(samples: np.ndarray, detector: bytes) -> np.ndarray:
    """Compute the probability of speech in each chunk, float32, a block in memory at a time.

    - ``samples``: int16 at 16 kHz.
    - ``detector``: see ``decode_speech``.
    """
    session = _session(detector)
    state = [np.zeros((1, 1, 128), np.float32)] * 2
    found = [np.zeros(0, np.float32)]
    for block in _blocks(samples):
        own, *state = session.run(
            ["speech_probs", "hn", "cn"], dict(zip(("input", "h", "c"), (block, *state), strict=True))
        )
        found.append(own)
    return np.concatenate(found)


def _blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Chunks, each behind its context, float32 in [-1, 1], ``(chunks, 576)``; zeros fill up the last one."""
    size = BLOCK_CHUNKS * CHUNK_SAMPLES
    context = np.zeros(CONTEXT_SAMPLES, np.float32)
    for begin in range(0, len(samples), size):
        own = samples[begin : begin + size].astype(np.float32) / 32768
        padded = np.concatenate([context, own, np.zeros(-len(own) % CHUNK_SAMPLES, np.float32)])
        context = padded[-CONTEXT_SAMPLES:]
        yield np.lib.stride_tricks.sliding_window_view(padded, CONTEXT_SAMPLES + CHUNK_SAMPLES)[
            ::CHUNK_SAMPLES
        ]


@functools.lru_cache(maxsize=1)
def _session(detector: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1  # workers decode side by side
    return onnxruntime.InferenceSession(detector, options, providers=["CPUExecutionProvider"])
