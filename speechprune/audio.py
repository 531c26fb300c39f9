"""Audio decoding: any recording to 16 kHz mono int16 samples, as a stream, and samples to windows.

FFmpeg (inside PyAV's wheel) reads the container from a file-like object by ranged reads, so a
slice of a recording in object storage costs only its own bytes. Channels are averaged, not matrixed:
archives hold microphone arrays as well as stereo, and a plain mean treats all of them alike.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from speechprune.storage import is_store_error, open_binary

if TYPE_CHECKING:
    import av

SAMPLE_RATE = 16_000  # samples per second, the input rate of every Whisper-like encoder
MEL_HOP_SAMPLES = 160  # 10 ms per mel frame
SILENCE_PEAK = 4  # int16 steps: a recording with no peak above it (about -78 dBFS) is silent
SEEK_PREROLL_SECONDS = 1.0  # decoded before a slice starts: MP3, AAC and Opus need some frames to settle
READ_BLOCK_BYTES = 1 << 20  # one ranged read of a remote file
MAX_DAMAGED_SHARE = 0.5  # of a file's packets; a file with more damage is refused

AudioSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | tuple[Any, int]


class AudioError(ValueError):
    """A recording that can't be used; the message says what is wrong and what to do."""


class AudioNotFound(AudioError):
    """No file at the recording's address."""


class AudioUnreadable(AudioError):
    """A file that can't be decoded as audio."""


class AudioEmpty(AudioError):
    """A recording without a sample in the requested part."""


class AudioSilent(AudioError):
    """A recording in which every sample is zero or nearly zero."""


class AudioTooShort(AudioError):
    """A recording with fewer samples than one audio token needs."""


def decode_audio(
    source: AudioSource, *, start: float | None = None, end: float | None = None, is_part: bool = False
) -> np.ndarray:
    """Decode a recording, or a slice of it, to 16 kHz mono.

    Memory stays at the returned samples plus one decoded frame: the file is read, decoded,
    mixed down and resampled as a stream.

    Parameters
    ----------
    source
        Path, URL (``s3://``, ``https://``, whatever fsspec opens), the file's bytes, a binary
        file object, or ``(waveform, rate)`` with a waveform of shape ``(samples,)`` or
        ``(samples, channels)`` (or its transpose), float in [-1, 1] or integer PCM.
    start, end
        Slice in seconds from the beginning of the recording, by seeking (MP3, which has no index, is
        read but not decoded up to there). Default: all of it.
    is_part
        Whether the slice is one of several of a recording: such a part may be silent, or after the end.

    Returns
    -------
    numpy.ndarray
        int16, shape ``(samples,)``, at ``SAMPLE_RATE``.

    Raises
    ------
    AudioError
        One of its subclasses, with a sentence that names the recording.
    """
    if isinstance(source, tuple):
        samples = _resample_waveform(*source, start=start, end=end)
        name = "the waveform"
    else:
        name = "the recording" if not isinstance(source, str | os.PathLike) else str(source)
        with _open(source, name) as file:
            samples = _decode_file(file, name, start, end)
    if is_part:
        return samples
    if samples.size == 0:
        until = "its end" if end is None else f"{end:g} s"
        where = "" if start is None and end is None else f" between {start or 0:g} s and {until}"
        raise AudioEmpty(f"{name} holds no sound{where}: check the file, and start and end if set")
    if max(int(samples.max()), -int(samples.min())) < SILENCE_PEAK:
        raise AudioSilent(
            f"{name} is silent throughout: check the microphone or the channel it was taken from"
        )
    return samples


@contextlib.contextmanager
def _open(source: str | os.PathLike[str] | bytes | IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Open any source as a seekable binary file."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    if not isinstance(source, str | os.PathLike):
        yield source
        return
    try:
        file = open_binary(str(source), block_bytes=READ_BLOCK_BYTES)
    except FileNotFoundError as error:
        raise AudioNotFound(f"{name} does not exist: check the manifest's audio column") from error
    except PermissionError as error:
        raise AudioUnreadable(f"{name} may not be read ({error}): check its permissions") from error
    except IsADirectoryError as error:
        raise AudioUnreadable(f"{name} is a folder, not a recording") from error
    except ValueError as error:  # no such protocol, or no path at all
        raise AudioUnreadable(f"{name} can't be opened ({error}): check the address") from error
    with file:
        yield file


def _decode_file(file: IO[bytes], name: str, start: float | None, end: float | None) -> np.ndarray:
    import av

    samples = bytearray()  # grows in place: no second copy of a long recording, at any moment
    try:
        if not file.seek(0, os.SEEK_END):
            raise AudioUnreadable(f"{name} is an empty file: restore it")
        file.seek(0)
        with av.open(file, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioUnreadable(f"{name} has no sound track")
            stream = container.streams.audio[0]
            stream.thread_type = "NONE"  # one recording a core: the archive is the parallelism
            resampler: _Resampler | None = None
            for mono, rate in _mono_frames(container, stream, name, start, end):
                if resampler is None or resampler.rate != rate:
                    if resampler is not None:
                        samples += resampler.finish()
                    resampler = _Resampler(rate)
                samples += resampler.push(mono)
            if resampler is not None:
                samples += resampler.finish()
    except (av.FFmpegError, UnicodeDecodeError) as error:
        # a broken tail is reported after what lies before it was decoded: keep what there is
        if not samples:
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioUnreadable(
                f"{name} can't be decoded as audio ({reason}): is the file whole?"
            ) from error
    except Exception as error:
        if not is_store_error(error):
            raise
        # reading failed, not decoding: what came before would pass for the whole recording
        raise AudioUnreadable(f"{name} can't be read ({error}): check the storage, try again") from error
    return np.frombuffer(samples, dtype=np.int16)


def _mono_frames(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    name: str,
    start: float | None,
    end: float | None,
) -> Iterator[tuple[np.ndarray, int]]:
    """Decoded frames from ``start`` to ``end`` as (float32 mono samples, their rate)."""
    import av

    if start:
        _seek(container, stream, start - SEEK_PREROLL_SECONDS)
    position: float | None = None  # seconds, of the next sample
    num_packets = num_damaged = 0
    for packet in container.demux(stream):
        num_packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            num_damaged += 1
            continue
        for frame in frames:
            if position is None:
                position = _frame_seconds(frame, stream)
            mono = _mix_down(frame)
            rate = frame.sample_rate
            begin = 0 if start is None else max(0, round((start - position) * rate))
            stop = len(mono) if end is None else min(len(mono), round((end - position) * rate))
            position += len(mono) / rate
            if begin < stop:
                yield mono[begin:stop], rate
        if end is not None and position is not None and position >= end:
            break
    if num_damaged > MAX_DAMAGED_SHARE * num_packets:
        raise AudioUnreadable(
            f"{num_damaged} of {num_packets} packets of {name} are damaged: restore the file"
        )


def _seek(container: av.container.InputContainer, stream: av.AudioStream, seconds: float) -> None:
    import av

    if seconds <= 0 or stream.time_base is None:
        return
    # a format that can't seek is decoded from its beginning instead
    with contextlib.suppress(av.FFmpegError):
        container.seek(int(seconds / stream.time_base) + (stream.start_time or 0), stream=stream)


def _frame_seconds(frame: av.AudioFrame, stream: av.AudioStream) -> float:
    if frame.pts is None or frame.time_base is None:
        return 0.0
    first = stream.start_time * stream.time_base if stream.start_time and stream.time_base else 0
    return float(frame.pts * frame.time_base - first)


def _mix_down(frame: av.AudioFrame) -> np.ndarray:
    """Mean of all channels, float32 in [-1, 1], shape ``(samples,)``."""
    values = frame.to_ndarray()  # planar: (channels, samples); packed: (1, samples x channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    return _to_float(values).mean(axis=0, dtype=np.float32)


def _to_float(values: np.ndarray) -> np.ndarray:
    """PCM of any sample type as float32 in [-1, 1]."""
    if np.issubdtype(values.dtype, np.integer):
        info = np.iinfo(values.dtype)
        full_scale = (float(info.max) - float(info.min) + 1) / 2
        middle = full_scale if info.min == 0 else 0.0  # unsigned PCM is silent in the middle of its range
        return (values.astype(np.float32) - np.float32(middle)) / np.float32(full_scale)
    # damaged floats reach 1e38, where the resampler's sums overflow
    return np.clip(np.nan_to_num(values), -1.0, 1.0).astype(np.float32)


def _to_int16(mono: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


class _Resampler:
    """float32 mono chunks at ``rate`` in, int16 bytes at 16 kHz out."""

    def __init__(self, rate: int) -> None:
        import soxr

        self.rate = rate
        self._stream = (
            None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        )

    def push(self, mono: np.ndarray) -> bytes:
        return _to_int16(mono if self._stream is None else self._stream.resample_chunk(mono)).tobytes()

    def finish(self) -> bytes:
        if self._stream is None:
            return b""
        return _to_int16(self._stream.resample_chunk(np.zeros(0, np.float32), last=True)).tobytes()


def _resample_waveform(waveform: Any, rate: int, *, start: float | None, end: float | None) -> np.ndarray:
    values = np.asarray(waveform)
    if values.size == 0:
        return np.zeros(0, np.int16)
    if values.ndim == 2:
        values = _to_float(values).mean(axis=int(np.argmin(values.shape)))
    if values.ndim != 1:
        raise AudioUnreadable(f"a waveform has one or two axes, not {values.ndim}")
    begin = 0 if start is None else round(start * rate)
    stop = len(values) if end is None else round(end * rate)
    resampler = _Resampler(int(rate))
    samples = resampler.push(_to_float(values[begin:stop])) + resampler.finish()
    return np.frombuffer(samples, dtype=np.int16)


def split_windows(samples: np.ndarray, window_samples: int) -> list[np.ndarray]:
    """Cut samples into consecutive windows; the last may be short. Views, no copies."""
    return [samples[i : i + window_samples] for i in range(0, len(samples), window_samples)]


def header_seconds(uri: str) -> float | None:
    """Length of a recording as its header states it, without decoding; None if there is none to be read."""
    import av

    try:
        with _open(uri, uri) as file, av.open(file, metadata_errors="ignore") as container:
            return None if container.duration is None else container.duration / av.time_base
    except Exception:  # a damaged file, or a store out of reach: decoding will report it
        return None
