"""Compressed recordings, made by FFmpeg's own encoders."""

import io

import av
import numpy as np

from speechprune.audio import SAMPLE_RATE

# format: (container, codec, rate); FFmpeg's own encoders
ENCODERS = {
    "mp3": ("mp3", "libmp3lame", 16_000),
    "m4a": ("mp4", "aac", 16_000),
    "aac": ("adts", "aac", 16_000),
    "opus": ("ogg", "libopus", 48_000),
    "webm": ("webm", "libopus", 48_000),
    "flac": ("flac", "flac", 16_000),
    "wav": ("wav", "pcm_s16le", 16_000),
}


def encode(samples: np.ndarray, name: str) -> bytes:
    """A compressed file in memory."""
    container_format, codec, rate = ENCODERS[name]
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size or 1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
    return file.getvalue()


EDGE_SAMPLES = 400  # 25 ms in which a resampler or codec still feels the beginning or end of a slice
