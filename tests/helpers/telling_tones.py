"""Sound that names its own second, and files of it whose timestamps are as a test wants them."""

import functools
import io
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np

from speechprune.audio import SAMPLE_RATE

STEP_SECONDS = 0.5  # of one tone; each has a frequency of its own for 150 s
LOWEST_HZ, STEP_HZ, NUM_TONES = 300, 10, 300

Shift = Callable[[float], float | None]  # from a packet's second to what its timestamp gets added; None: lost


def telling_tones(seconds: float, first: float = 0.0) -> np.ndarray:
    """int16 samples at 16 kHz, whose first one is second ``first``."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE + first
    steps = (times / STEP_SECONDS).astype(int)
    hertz = LOWEST_HZ + steps % NUM_TONES * STEP_HZ
    wave = np.sin(2 * np.pi * hertz * (times - steps * STEP_SECONDS))
    return (0.5 * 32767 * wave).astype(np.int16)


def named_second(samples: np.ndarray, at: float) -> float | None:
    """The second that the sound names ``at`` seconds from its beginning; None where it is silent."""
    window = samples[int((at - 0.1) * SAMPLE_RATE) : int((at + 0.1) * SAMPLE_RATE)].astype(float)
    if len(window) < 0.19 * SAMPLE_RATE or np.abs(window).max() < 300:
        return None
    spectrum = np.abs(np.fft.rfft(window * np.hanning(len(window)), 1 << 15))
    hertz = spectrum.argmax() * SAMPLE_RATE / (1 << 15)
    return float(round((hertz - LOWEST_HZ) / STEP_HZ) * STEP_SECONDS + STEP_SECONDS / 2)


def write_container(
    samples: np.ndarray, container: str, codec: str, rate: int = SAMPLE_RATE, bit_rate: int | None = None
) -> bytes:
    """One mono track."""
    return write_tracks([samples], container, codec, rate, bit_rate=bit_rate)


def write_tracks(
    tracks: Sequence[np.ndarray],
    container: str,
    codec: str = "aac",
    rate: int = SAMPLE_RATE,
    *,
    delays: Sequence[float] = (),
    dispositions: Sequence[int] = (),
    picture_seconds: int = 0,
    bit_rate: int | None = None,
) -> bytes:
    """Mono tracks, each with a delay, and a picture that begins at 0."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        streams = [out.add_stream(codec, rate=rate, layout="mono") for _ in tracks]
        for stream, disposition in zip(streams, dispositions, strict=False):
            stream.disposition = disposition
        packets = list(_picture(out, picture_seconds)) if picture_seconds else []
        for stream, samples, delay in zip(streams, tracks, [*delays, *[0.0] * len(tracks)], strict=False):
            if bit_rate is not None:
                stream.bit_rate = bit_rate
            for packet in _encode(stream, samples, rate):
                if delay:
                    packet.pts += int(delay / packet.time_base)
                    packet.dts = packet.pts
                packets.append(packet)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * (one.time_base or 0)):
            out.mux(packet)
    return file.getvalue()


def _encode(stream: av.AudioStream, samples: np.ndarray, rate: int) -> list[av.Packet]:
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
    resampler = av.AudioResampler(
        format=stream.format, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size or 1024
    )
    pieces = [*resampler.resample(frame), *resampler.resample(None), None]
    return [packet for piece in pieces for packet in stream.encode(piece)]


def _picture(out: av.container.OutputContainer, seconds: int) -> list[av.Packet]:
    stream = out.add_stream("mpeg4", rate=5)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    images = [
        av.VideoFrame.from_ndarray(np.full((64, 64, 3), i % 255, np.uint8), format="rgb24")
        for i in range(seconds * 5)
    ]
    return [packet for image in [*images, None] for packet in stream.encode(image)]


@functools.cache
def telling_file(seconds: float, first: float, container: str, codec: str, rate: int) -> bytes:
    """A file of tones, made once."""
    return write_container(telling_tones(seconds, first), container, codec, rate)


def shifted(data: bytes, container: str, shift: Shift) -> bytes:
    """The same packets with other timestamps."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=container) as out:
        stream = source.streams.audio[0]
        target = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.pts is None:
                continue
            more = shift(float(packet.pts * packet.time_base))
            if more is not None:
                packet.pts += round(more / packet.time_base)
                packet.dts = packet.pts
                packet.stream = target
                out.mux(packet)
    return file.getvalue()
