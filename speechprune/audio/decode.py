"""Audio decoding: any recording to 16 kHz mono int16 samples, as a stream.

FFmpeg (inside PyAV's wheel) reads the container from a file-like object by ranged reads. Times are those of
a player: silence lies where the container's timestamps show that nothing was recorded. Channels are
averaged, not matrixed: archives hold microphone arrays as well as stereo, and a plain mean treats all alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Any, TypeAlias

import numpy as np

from speechprune.audio.container import AudioFile, choose_track, open_container, open_file, several_tracks
from speechprune.audio.errors import AudioEmpty, AudioSilent, AudioUnreadable
from speechprune.audio.packets import PacketReader, Piece, pcm_to_float
from speechprune.audio.resample import SAMPLE_RATE, BlockResampler
from speechprune.storage import is_store_error, shortened

MISSING_SECONDS = 1.0  # of a part: codecs leave out some samples at both ends of a recording
SILENCE_PEAK = 4  # int16 steps: a recording with no peak above it (about -78 dBFS) is silent

AudioSource: TypeAlias = AudioFile | tuple[Any, int]


def decode_audio(
    source: AudioSource,
    *,
    start: float | None = None,
    end: float | None = None,
    track: int | None = None,
    part_of: float | None = None,
) -> np.ndarray:
    """Decode a recording, or a slice of it, to 16 kHz mono.

    A slice is the same stretch of the whole, to the bit but for codecs that fill in noise (AAC). Memory
    stays at the returned samples plus a block of ten seconds: the file is read, decoded, mixed down and
    resampled as a stream.

    Parameters
    ----------
    source
        Path, URL (``s3://``, ``https://``, whatever fsspec opens), the file's bytes, a binary
        file object, or ``(waveform, rate)`` with a waveform of shape ``(samples,)`` or
        ``(samples, channels)`` (or its transpose), float in [-1, 1] or integer PCM.
    start, end
        Slice in seconds of a player's display. Uncompressed files and MP4 are read from there, most
        others read but not decoded up to there. Default: all of it.
    track
        Number of the audio track, from 0. Default: the one that the file marks as default.
    part_of
        Seconds of the recording, as ``recording_seconds`` measured them, where the slice is one of several
        parts of it. A part may be silent, but must hold all that lies in it.

    Returns
    -------
    numpy.ndarray
        int16, shape ``(samples,)``, at ``SAMPLE_RATE``.

    Raises
    ------
    AudioError
        One of its subclasses, with a sentence that names the recording.
    """
    name = source_name(source)
    notes = _Notes(name)
    resampler = BlockResampler(
        round((start or 0) * SAMPLE_RATE),
        None if end is None else round(end * SAMPLE_RATE),
        notes.channels_cancel,
    )
    if isinstance(source, tuple):
        samples = bytearray(resampler.push(_waveform_piece(*source)) + resampler.finish())
    else:
        with open_file(source, name) as file:
            samples = _decode_file(file, name, track, resampler, notes)
    decoded = np.frombuffer(samples, dtype=np.int16)
    if part_of is not None:
        _check_part(name, len(decoded) / SAMPLE_RATE, start or 0.0, end, part_of)
        return decoded
    if decoded.size == 0:
        until = "its end" if end is None else f"{end:g} s"
        where = "" if start is None and end is None else f" between {start or 0:g} s and {until}"
        raise AudioEmpty(f"{name} holds no sound{where}: check the file, and start and end if set")
    if max(int(decoded.max()), -int(decoded.min())) < SILENCE_PEAK:
        raise AudioSilent(
            f"{name} is silent throughout: check the microphone or the channel it was taken from"
        )
    return decoded


def _check_part(name: str, seconds: float, start: float, end: float | None, recording_seconds: float) -> None:
    """Refuse a part that holds less than the packets of its recording add up to."""
    promised = min(recording_seconds if end is None else end, recording_seconds) - start
    if seconds < promised - MISSING_SECONDS:
        raise AudioUnreadable(
            f"{name} gives {seconds:.1f} s of sound from {start:g} s on, where its packets promise "
            f"{promised:.1f} s: restore the file, or copy its sound into a new one"
        )


class _Notes:
    """What is worth a word about a recording; each is logged once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._done: set[str] = set()

    def several_tracks(self, words: str | None) -> None:
        if words is not None:
            self._log("{} has several sound tracks: {} is taken", words)

    def channels_cancel(self, number: int) -> None:
        self._log("the channels of {} cancel each other: channel {} alone is taken", str(number))

    def _log(self, sentence: str, words: str) -> None:
        from loguru import logger

        if sentence not in self._done:
            self._done.add(sentence)
            logger.warning(sentence, self._name, words)


def source_name(source: AudioSource) -> str:
    """Name a recording in messages."""
    if isinstance(source, tuple):
        return "the waveform"
    return shortened(str(source)) if isinstance(source, str | os.PathLike) else "the recording"


def _decode_file(
    file: IO[bytes], name: str, track: int | None, resampler: BlockResampler, notes: _Notes
) -> bytearray:
    import av

    samples = bytearray()  # grows in place: no second copy of a long recording, at any moment
    try:
        if not file.seek(0, os.SEEK_END):
            raise AudioUnreadable(f"{name} is an empty file: restore it")
        for piece in _pieces(file, name, track, resampler.first_second, notes):
            samples += resampler.push(piece)
            if resampler.is_done:
                break
    except (av.FFmpegError, UnicodeDecodeError) as error:
        # a broken tail is reported after what lies before it was decoded: keep what there is
        samples += resampler.finish()
        if not samples:
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioUnreadable(
                f"{name} can't be decoded as audio ({reason}): is the file whole?"
            ) from error
    except Exception as error:
        if not is_store_error(error):
            raise
        # reading failed, not decoding: what came before would pass for the whole recording
        sentence = f"{name} can't be read ({error}): check the storage, try again"
        raise AudioUnreadable(shortened(sentence)) from error
    samples += resampler.finish()
    return samples


def _pieces(
    file: IO[bytes], name: str, track: int | None, first_second: float, notes: _Notes
) -> Iterator[Piece]:
    """Pieces of a track from shortly before a place, to its end."""
    for may_skip in (True, False):
        with open_container(file, name) as container:
            stream = choose_track(container, name, track)
            notes.several_tracks(several_tracks(container, stream))
            reader = PacketReader(container, stream, name)
            if not may_skip or reader.go_to(first_second):
                yield from reader.read()
                return


def _waveform_piece(waveform: Any, rate: int) -> Piece:
    values = np.asarray(waveform)
    if values.ndim not in (1, 2):
        raise AudioUnreadable(f"a waveform has one or two axes, not {values.ndim}")
    if values.size == 0 or values.ndim == 1:
        values = values.reshape(1, -1)
    elif values.shape[0] > values.shape[1]:
        values = values.T
    return Piece(0, int(rate), pcm_to_float(values))
