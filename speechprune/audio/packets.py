"""Packets of one track to pieces of sound with their places on the recording's clock.

A slice equals the same stretch of the whole: it is reached by seeking only where that was found exact,
else by reading the packets before it and counting their samples without decoding them, else by decoding
the file from its beginning.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speechprune.audio.clock import Clock
from speechprune.audio.errors import AudioUnreadable

if TYPE_CHECKING:
    import av

SETTLE_SECONDS = 2.0  # decoded before a slice: until then codecs predict from frames that were not decoded
HEAD_SECONDS = 0.5  # decoded at a file's beginning, where codecs leave out their own delay
MIN_RATE = 1_000  # samples a second
MAX_DAMAGED_SHARE = 0.5  # of a file's packets; a file with more damage is refused
OUTLIER_SECONDS = 1.0
MAX_READ_ERRORS = 100  # after which a file is not read further
# demuxers that seek by arithmetic over uncompressed samples
PCM_FORMATS = ("wav", "w64", "aiff", "au", "caf")
# codecs all of whose frames have as many samples as the first full one
ONE_LENGTH_CODECS = ("aac", "mp3", "mp3float", "mp2", "mp2float", "ac3", "eac3", "alac")
OPUS_UNIT, OPUS_UNITS = 120, 48  # a packet of Opus has a multiple of 2.5 ms at 48 kHz, 120 ms at most
MIN_LOST_FRAMES = 4  # a damaged packet of fewer may be another file's title, where files were joined
# bytes of the largest frame, of codecs that are also stored without a container: a larger packet is a frame
# with the remains of damaged ones behind it
MAX_FRAME_BYTES = {"mp3": 1441, "mp3float": 1441, "mp2": 1729, "mp2float": 1729, "aac": 8192, "ac3": 3840}


@dataclass(frozen=True)
class Piece:
    """Decoded sound.

    Parameters
    ----------
    at
        Place of the first sample on the recording's timeline, in samples.
    rate
        Samples a second.
    channels
        float32 in [-1, 1], shape ``(channels, samples)``.
    """

    at: int
    rate: int
    channels: np.ndarray


class PacketReader:
    """Reads a track's packets once, in order."""

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream, name: str) -> None:
        self._container = container
        self._stream = stream
        self._name = name
        self._packets = self._read_packets()
        self._num_packets = self._num_damaged = 0
        self._num_whole = self._num_whole_bytes = 0  # of packets that hold one whole frame
        self._resumed: av.Packet | None = None  # the first packet after those that were not decoded
        self._frame_samples = 0  # of a full frame at the file's beginning
        self.clock = Clock(container, stream, name)

    def go_to(self, seconds: float) -> bool:
        """Go to a place without decoding what lies before it; False where that would not be exact.

        After False the reader is spent: begin again with a new one.
        """
        target = seconds - SETTLE_SECONDS
        if target <= HEAD_SECONDS:
            return True
        if seek_is_exact(self._container, self._stream):
            return self._seek(target)
        can_count = self._stream.codec_context.name in ("opus", *ONE_LENGTH_CODECS) or self._states_samples()
        return can_count and self._skip(target)

    def read(self) -> Iterator[Piece]:
        """Decode from here to the end.

        A damaged packet leaves silence of its length.

        Raises
        ------
        AudioUnreadable
            Most of the packets are damaged, or the sound has an impossible rate.
        """
        packets = self._packets
        if self._resumed is not None:
            packets = itertools.chain([self._resumed], packets)
        for packet in packets:
            yield from self._decode(packet)
        if self.clock.rate >= MIN_RATE:  # silence of damaged packets at the end
            yield Piece(self.clock.at, self.clock.rate, np.zeros((1, 0), np.float32))
        if self._num_damaged > MAX_DAMAGED_SHARE * self._num_packets:
            raise AudioUnreadable(
                f"{self._num_damaged} of {self._num_packets} packets of {self._name} are damaged: "
                "restore the file"
            )

    def _decode(self, packet: av.Packet) -> Iterator[Piece]:
        import av

        clock = self.clock
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._num_damaged += 1
            clock.advance(self._num_samples(packet) + self._num_lost(packet, is_damaged=True))
            return
        for frame in frames:
            if frame.sample_rate < MIN_RATE:
                raise AudioUnreadable(
                    f"{self._name} has {frame.sample_rate} samples a second, which is no speech: "
                    "check how it was exported"
                )
            clock.set_rate(frame.sample_rate)
            if self._resumed is not None:
                # codecs leave out some samples at the beginning of the first frame after a pause
                clock.at += self._num_frame_samples(packet) - frame.samples
                self._resumed = None
            else:
                clock.place(frame.pts, frame.time_base)
            yield Piece(clock.at, clock.rate, _to_channels(frame))
            clock.advance(frame.samples)
        clock.at += self._num_lost(packet)

    def _seek(self, target: float) -> bool:
        import av

        assert self._stream.time_base is not None
        position = int(target / self._stream.time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(position, stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def _skip(self, target: float) -> bool:
        """Count the samples of all packets before a place; False where timestamps contradict the count."""
        clock = self.clock
        for packet in self._packets:
            lengths = [piece.channels.shape[1] for piece in self._decode(packet)]
            self._frame_samples = max(self._frame_samples, *lengths, 0)
            if clock.seconds >= HEAD_SECONDS:
                break
        if clock.num_corrections or self._num_damaged or not self._frame_samples:
            return False
        for packet in self._packets:
            if packet.size == 0:  # the end
                return True
            if packet.is_discard:
                return False
            clock.place(packet.pts, packet.time_base)
            if clock.num_corrections:
                return False
            if clock.seconds >= target:
                self._stream.codec_context.flush_buffers()
                self._resumed = packet
                return True
            clock.advance(self._num_frame_samples(packet) + self._num_lost(packet))
        return True

    def count(self) -> float:
        """Length of the track in seconds, without decoding it where its packets tell."""
        clock = self.clock
        if not (clock.has_timestamps or self._stream.codec_context.name in ONE_LENGTH_CODECS):
            for _ in self.read():
                pass
            return clock.seconds
        for packet in self._packets:
            if packet.size and not packet.is_discard:
                clock.place(packet.pts, packet.time_base)
                clock.advance(self._num_samples(packet) + self._num_lost(packet))
        return clock.seconds

    def _read_packets(self) -> Iterator[av.Packet]:
        """All packets of the track, without timestamps that their neighbours contradict."""
        before = packet = None
        for after in self._demux():
            if packet is not None:
                if _is_outlier(before, packet, after):
                    packet.pts = packet.dts = None
                yield packet
            before, packet = packet, after
        if packet is not None:
            yield packet

    def _demux(self) -> Iterator[av.Packet]:
        """All packets of the track; reading goes on behind a damaged stretch of the container."""
        import av

        for num_errors in itertools.count():
            try:
                for packet in self._container.demux(self._stream):
                    self._num_packets += 1
                    self._num_whole += 1
                    self._num_whole_bytes += packet.size
                    yield packet
                return
            except av.FFmpegError:
                if num_errors == MAX_READ_ERRORS:
                    raise

    def _num_lost(self, packet: av.Packet, is_damaged: bool = False) -> int:
        """Samples of damaged frames in a packet, by its bytes, where no timestamps tell."""
        largest = MAX_FRAME_BYTES.get(self._stream.codec_context.name)
        if largest is None or self.clock.has_timestamps or not (is_damaged or packet.size > largest):
            return 0
        self._num_whole -= 1
        self._num_whole_bytes -= packet.size
        if not self._num_whole_bytes:
            return 0
        num_frames = round(packet.size * self._num_whole / self._num_whole_bytes)
        return (num_frames - 1) * self._num_samples(packet) if num_frames >= MIN_LOST_FRAMES else 0

    def _num_frame_samples(self, packet: av.Packet) -> int:
        """Samples that a packet's frame decodes to; its duration may span a gap behind it."""
        if self._states_samples():
            return self._num_samples(packet)
        if self._stream.codec_context.name != "opus":
            return self._frame_samples
        num_units = round(self._num_samples(packet) / OPUS_UNIT)
        return min(max(1, num_units), OPUS_UNITS) * OPUS_UNIT

    def _states_samples(self) -> bool:
        """Whether each packet states the number of its samples, and the container counts in them."""
        codec, tick = self._stream.codec_context, self._stream.time_base
        return codec.name == "flac" and tick is not None and tick * codec.sample_rate == 1

    def _num_samples(self, packet: av.Packet) -> int:
        """Samples of a packet by its duration."""
        seconds = 0 if packet.duration is None else packet.duration * packet.time_base
        return round(seconds * self.clock.rate)


def _is_outlier(before: av.Packet | None, packet: av.Packet, after: av.Packet) -> bool:
    """Whether one timestamp lies far ahead of those before and after it."""
    if before is None or None in (before.pts, packet.pts, after.pts):
        return False
    neighbours = max(before.pts * before.time_base, after.pts * after.time_base)
    return bool(packet.pts * packet.time_base > neighbours + OUTLIER_SECONDS)


def seek_is_exact(container: av.container.InputContainer, stream: av.AudioStream) -> bool:
    """Whether a seek finds a place and its time exactly, by what the header says.

    - Uncompressed samples whose byte rate fits their format.
    - MP4 whose table of samples has frames of one length, without a gap.
    """
    rate = stream.codec_context.sample_rate
    if not stream.time_base or not stream.duration or not rate:
        return False
    if container.format.name in PCM_FORMATS:
        bits = re.fullmatch(r"pcm_(?:[fsu](\d+)(?:be|le)?|alaw|mulaw)", stream.codec_context.name)
        if bits is None:
            return False
        expected = rate * stream.codec_context.layout.nb_channels * int(bits[1] or 8)
        return stream.codec_context.bit_rate in (None, 0, expected)
    if "mp4" not in container.format.name.split(","):
        return False
    places = np.array([entry.timestamp for entry in stream.index_entries])
    steps = np.unique(np.diff(places[:-1]))  # the last frame may be short
    return len(steps) == 1 and (int(steps[0]) * stream.time_base * rate).denominator == 1


def _to_channels(frame: av.AudioFrame) -> np.ndarray:
    values = frame.to_ndarray()  # planar: (channels, samples); packed: (1, samples x channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    return pcm_to_float(values)


def pcm_to_float(values: np.ndarray) -> np.ndarray:
    """PCM of any sample type as float32 in [-1, 1]."""
    if np.issubdtype(values.dtype, np.integer):
        info = np.iinfo(values.dtype)
        full_scale = (float(info.max) - float(info.min) + 1) / 2
        middle = full_scale if info.min == 0 else 0.0  # unsigned PCM is silent in the middle of its range
        return (values.astype(np.float32) - np.float32(middle)) / np.float32(full_scale)
    # damaged floats reach 1e38, where the resampler's sums overflow
    return np.clip(np.nan_to_num(values), -1.0, 1.0).astype(np.float32)
