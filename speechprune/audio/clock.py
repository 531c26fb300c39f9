"""The recording's one clock: what a player's display shows at a sample, from timestamps and from counts.

The count of the decoded samples places each frame behind the one before it. The container's timestamps
correct the count where they show that time passed without sound (a paused recorder, lost packets) or that
another recording begins (joined files).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from speechprune.audio.errors import AudioUnreadable

if TYPE_CHECKING:
    import av

# containers that store a time for each packet or page. The others' times are FFmpeg's own sums of
# durations, some of them guessed from a bit rate: there the count of the samples decides
FORMATS_WITH_TIMESTAMPS = (
    "matroska,webm",
    "mov,mp4,m4a,3gp,3g2,mj2",
    "mpegts",
    "mpeg",
    "ogg",
    "asf",
    "flv",
    "rm",
    "nut",
    "mxf",
    "flac",  # each frame states the number of its first sample
)
# of these, the containers whose header states the length: a later timestamp is a damaged one
FORMATS_WITH_LENGTH = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "asf", "flv")
LENGTH_MARGIN_SECONDS = 60.0
MIN_GAP_SECONDS = 0.02  # containers round to milliseconds, and recorders stamp packets a little late
STEP_BACK_SECONDS = 0.5  # less is drift between the clocks of sound and container
MAX_GAP_SECONDS = 24 * 3600.0  # more is a damaged timestamp


class Clock:
    """Place of the next sample on the recording's timeline, in samples of the decoded rate.

    Parameters
    ----------
    container, stream
        The open file and its audio stream.
    name
        The recording's, for messages.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream, name: str) -> None:
        self._name = name
        self._zero = _zero_seconds(container)
        self.has_timestamps = container.format.name in FORMATS_WITH_TIMESTAMPS
        self._longest_seconds = _longest_seconds(container)
        self._is_placed = False
        self._num_last = 0  # samples of the last frame
        self.rate = stream.codec_context.sample_rate or 1  # samples a second
        self.at = 0  # samples
        self.num_corrections = 0  # gaps and steps back so far

    @property
    def seconds(self) -> float:
        """Place of the next sample."""
        return self.at / self.rate

    def set_rate(self, rate: int) -> None:
        """Count samples of another rate from here on."""
        if rate != self.rate:
            self.at = _rounded(self.at * rate, self.rate)
            self.rate = rate

    def place(self, pts: int | None, time_base: Fraction | None) -> None:
        """Move to the next frame's timestamp, where that differs from the count by more than jitter.

        - The first frame lies where its timestamp says: sound may begin after the picture.
        - A gap of more than a frame (and ``MIN_GAP_SECONDS``) is left open: it will be silence.
        - After a step back of more than ``STEP_BACK_SECONDS`` the count goes on, and timestamps are taken
          relative to it.

        Raises
        ------
        AudioUnreadable
            A gap of more than ``MAX_GAP_SECONDS``.
        """
        if pts is None or time_base is None or (self._is_placed and not self.has_timestamps):
            return
        zero = self._zero
        stamp = _rounded(
            (pts * time_base.numerator * zero.denominator - zero.numerator * time_base.denominator)
            * self.rate,
            time_base.denominator * zero.denominator,
        )
        ahead = stamp - self.at
        if ahead > MAX_GAP_SECONDS * self.rate:
            raise AudioUnreadable(
                f"the timestamps of {self._name} jump by {ahead / self.rate / 3600:.0f} hours at "
                f"{self.seconds:.0f} s: repair the file by copying its sound into a new one"
            )
        if not self._is_placed:
            self.at = max(0, stamp)
            self._is_placed = True
        elif ahead > max(self._num_last, MIN_GAP_SECONDS * self.rate):
            self.at = stamp
            self.num_corrections += 1
        elif ahead < -STEP_BACK_SECONDS * self.rate:
            self._zero += Fraction(ahead, self.rate)
            self.num_corrections += 1

    def advance(self, num_samples: int) -> None:
        """Count a frame."""
        self.at += num_samples
        self._num_last = num_samples


def _zero_seconds(container: av.container.InputContainer) -> Fraction:
    """Timestamp at which a player's display shows 0: where the first of sound and picture begins."""
    starts = [
        stream.start_time * stream.time_base
        for stream in (*container.streams.audio, *container.streams.video)
        if stream.start_time is not None and stream.time_base is not None and not _is_cover(stream)
    ]
    return min(starts, default=Fraction(0))


def _longest_seconds(container: av.container.InputContainer) -> float:
    """Timestamp above which none is believed."""
    import av

    if container.format.name not in FORMATS_WITH_LENGTH or not container.duration:
        return math.inf
    return ((container.start_time or 0) + container.duration) / av.time_base + LENGTH_MARGIN_SECONDS


def _is_cover(stream: av.stream.Stream) -> bool:
    """Whether a video stream is one picture, as of an album."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest integer to a fraction; halves upwards."""
    return (2 * numerator + denominator) // (2 * denominator)
