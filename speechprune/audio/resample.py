"""Sound of any rate and number of channels to 16 kHz mono, in blocks that lie on one grid for every slice.

A block is mixed and resampled from its own samples and a run-in before and after it, so that a slice gives
the same bits as the whole recording.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np

from speechprune.audio.packets import Piece

SAMPLE_RATE = 16_000  # samples per second, the input rate of every Whisper-like encoder
BLOCK_SECONDS = 10
RUN_IN_SECONDS = 0.1  # several times the length of the resampler's filter
CANCELLED_POWER = 0.01  # 20 dB: the mean of the channels has less than this share of their own mean power
NEARLY_LOUDEST = 0.8  # 1 dB: channels as loud as this are taken in their order
SILENT_POWER = (1 / 32768) ** 2  # of the channels' mean: nothing there to cancel


class BlockResampler:
    """Takes pieces in order, with silence where none lies; returns int16 samples of a range.

    Parameters
    ----------
    start, stop
        The range, in samples at 16 kHz; None for no end.
    on_cancelled
        Called for each block in which the channels cancel each other, with the number of the one taken.
    """

    def __init__(self, start: int, stop: int | None, on_cancelled: Callable[[int], None]) -> None:
        self._start = start
        self._stop = stop
        self._on_cancelled = on_cancelled
        self._block = start // (BLOCK_SECONDS * SAMPLE_RATE)  # number of the next one
        self._rate = 0
        self._pieces: deque[Piece] = deque()
        self._begin = 0  # of the sound at this rate
        self._end = 0  # of the sound so far

    @property
    def first_second(self) -> float:
        """Place from which sound is needed."""
        return max(0.0, self._block * BLOCK_SECONDS - RUN_IN_SECONDS)

    @property
    def is_done(self) -> bool:
        """Whether all of the range was returned."""
        return self._stop is not None and self._block * BLOCK_SECONDS * SAMPLE_RATE >= self._stop

    def push(self, piece: Piece) -> bytes:
        """Add a piece; returns the samples that became ready."""
        ready = b""
        if piece.rate != self._rate:
            ready = self._flush()
            self._begin = self._end = self._first_of(piece.rate)
            self._rate = piece.rate
            self._pieces.clear()
        self._pieces.append(piece)
        self._end = max(self._end, piece.at + piece.channels.shape[1])
        run_in = self._run_in()
        while not self.is_done and self._end >= self._block_end() + run_in:
            ready += self._next_block(self._block_end())
        return ready

    def finish(self) -> bytes:
        """Return the rest, up to the end of the last piece."""
        return self._flush()

    def _first_of(self, rate: int) -> int:
        """Place, at another rate, of the first sample that is taken at it."""
        if self._rate:
            return round(self._end * rate / self._rate)
        return max(0, self._block * BLOCK_SECONDS * rate - _run_in(rate))

    def _run_in(self) -> int:
        return _run_in(self._rate)

    def _block_end(self) -> int:
        return (self._block + 1) * BLOCK_SECONDS * self._rate

    def _flush(self) -> bytes:
        ready = b""
        while self._rate and not self.is_done and self._block_end() <= self._end:
            ready += self._next_block(self._block_end())
        if not self.is_done and self._end > max(self._begin, self._block * BLOCK_SECONDS * self._rate):
            ready += self._next_block(self._end)
        return ready

    def _next_block(self, end: int) -> bytes:
        """Mix and resample the next block up to ``end``, which is its own or that of the sound."""
        rate, run_in = self._rate, self._run_in()
        begin = max(self._begin, self._block * BLOCK_SECONDS * rate)
        first, last = max(self._begin, begin - run_in), min(self._end, end + run_in)
        mono = self._mix_down(self._between(first, last))
        if rate != SAMPLE_RATE:
            import soxr

            mono = soxr.resample(mono, rate, SAMPLE_RATE)
        if end == self._block_end():
            self._block += 1
        offset = round(first * SAMPLE_RATE / rate)
        lower = max(self._start, round(begin * SAMPLE_RATE / rate))
        upper = round(end * SAMPLE_RATE / rate)
        if self._stop is not None:
            upper = min(upper, self._stop)
        return _to_int16(mono[max(0, lower - offset) : max(0, upper - offset)]).tobytes()

    def _between(self, first: int, last: int) -> np.ndarray:
        """Sound between two places, float32 of shape ``(channels, samples)``; silence where none lies."""
        num_channels = max((len(piece.channels) for piece in self._pieces), default=1)
        sound = np.zeros((num_channels, last - first), np.float32)
        for piece in self._pieces:
            begin, end = max(first, piece.at), min(last, piece.at + piece.channels.shape[1])
            if begin < end:
                part = piece.channels[:, begin - piece.at : end - piece.at]
                # a piece of fewer channels, as in a file that changes: its mean is theirs
                sound[:, begin - first : end - first] = (
                    part if len(part) == num_channels else part.mean(axis=0, dtype=np.float32)
                )
        next_first = last - 2 * self._run_in()
        while self._pieces and self._pieces[0].at + self._pieces[0].channels.shape[1] <= next_first:
            self._pieces.popleft()
        return sound

    def _mix_down(self, channels: np.ndarray) -> np.ndarray:
        """Mean of all channels, float32 of shape ``(samples,)``; the loudest where they cancel each other."""
        if len(channels) == 1:
            return channels[0]
        mono = channels.mean(axis=0, dtype=np.float32)
        powers = np.einsum("cs,cs->c", channels, channels) / channels.shape[1]
        power = np.dot(mono, mono) / len(mono)
        if powers.mean() > SILENT_POWER and power < CANCELLED_POWER * powers.mean():
            loudest = int(np.flatnonzero(powers >= NEARLY_LOUDEST * powers.max())[0])
            self._on_cancelled(loudest)
            return channels[loudest]
        return mono


def _run_in(rate: int) -> int:
    """Samples of the run-in: as many as are a whole number of samples at 16 kHz, too."""
    unit = rate // math.gcd(rate, SAMPLE_RATE)
    return unit * math.ceil(RUN_IN_SECONDS * rate / unit)


def _to_int16(mono: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
