"""Recordings as open containers: nothing but the one file is read, and one of its tracks is chosen."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from speechprune.audio.errors import AudioNotFound, AudioUnreadable
from speechprune.storage import NotRegularFile, open_binary, shortened

if TYPE_CHECKING:
    import av

AudioFile: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes]

READ_BLOCK_BYTES = 1 << 20  # one ranged read of a remote file
# files that name other files or addresses, as their first bytes show; FFmpeg takes them for what they are
# under any name, and would open what they name
PLAYLIST_MARKS = (b"ffconcat", b"#EXTM3U", b"v=0", b"[playlist]", b"<MPD")
# FFmpeg's demuxers of samples without a header: it would guess their rate
HEADERLESS_FORMAT = re.compile(r"[fsu]\d+(be|le)?|alaw|mulaw|vidc")
MAX_TRACKS_SHOWN = 8


class _OtherFile(Exception):
    """A container asked for a second file."""


@contextlib.contextmanager
def open_file(source: AudioFile, name: str) -> Iterator[IO[bytes]]:
    """Open any source as a seekable binary file.

    Raises
    ------
    AudioError
        There is no such file, or it can't be read.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    if not isinstance(source, str | os.PathLike):
        yield source
        return
    try:
        file = open_binary(str(source), block_bytes=READ_BLOCK_BYTES)
    except FileNotFoundError as error:
        raise AudioNotFound(f"{name} does not exist: check its address") from error
    except PermissionError as error:
        raise AudioUnreadable(
            shortened(f"{name} may not be read ({error}): check its permissions")
        ) from error
    except IsADirectoryError as error:
        raise AudioUnreadable(f"{name} is a folder, not a recording") from error
    except NotRegularFile as error:
        raise AudioUnreadable(f"{name} is no regular file: copy the recording to one") from error
    except ValueError as error:  # no such protocol, or no path at all
        raise AudioUnreadable(shortened(f"{name} can't be opened ({error}): check the address")) from error
    with file:
        yield file


@contextlib.contextmanager
def open_container(file: IO[bytes], name: str) -> Iterator[av.container.InputContainer]:
    """Open a file's container from its beginning.

    FFmpeg gets no other file, whatever the container names (playlists, QuickTime references), and no
    protocol, so no connection.

    Raises
    ------
    AudioUnreadable
        A playlist, or samples without a header.
    av.FFmpegError
        No container that FFmpeg knows.
    """
    import av

    file.seek(0)
    head = file.read(4096).lstrip(b"\xef\xbb\xbf\r\n\t ")
    if head.startswith(PLAYLIST_MARKS):
        raise AudioUnreadable(f"{name} is a playlist, no recording: list the recordings that it names")
    file.seek(0)
    try:
        container = av.open(
            file,
            metadata_errors="ignore",
            io_open=_refuse_other_file,
            # MPEG-TS: how far to look for the next packet after damage
            container_options={"protocol_whitelist": "none", "resync_size": str(1 << 30)},
        )
    except _OtherFile as error:
        raise AudioUnreadable(f"{name} refers to another file: give that one") from error
    with container:
        if HEADERLESS_FORMAT.fullmatch(container.format.name):
            raise AudioUnreadable(
                f"{name} holds samples without a header ({container.format.name}), so that nobody knows "
                "their rate: wrap it in WAV"
            )
        yield container


def _refuse_other_file(url: str, flags: int, options: dict[str, Any]) -> IO[bytes]:
    raise _OtherFile(url)


def choose_track(
    container: av.container.InputContainer, name: str, track: int | None = None
) -> av.AudioStream:
    """The audio stream to decode: by its number, from 0, else the one that the file marks as default.

    Raises
    ------
    AudioUnreadable
        There is no such track.
    """
    tracks = container.streams.audio
    if not tracks:
        raise AudioUnreadable(f"{name} has no sound track")
    if track is None:
        stream = container.streams.best("audio") or tracks[0]
    elif 0 <= track < len(tracks):
        stream = tracks[track]
    else:
        raise AudioUnreadable(f"{name} has no track {track}: its sound tracks are {_track_names(tracks)}")
    if stream.codec_context is None:
        raise AudioUnreadable(f"{name} is in a format that can't be decoded: convert it, or restore the file")
    stream.thread_type = "NONE"  # one recording a core: the archive is the parallelism
    return stream


def several_tracks(container: av.container.InputContainer, stream: av.AudioStream) -> str | None:
    """What there was to choose from, in words; None where a file has one sound track."""
    tracks = container.streams.audio
    if len(tracks) < 2:
        return None
    return f"track {tracks.index(stream)} of {_track_names(tracks)}"


def _track_names(tracks: tuple[av.AudioStream, ...]) -> str:
    names = []
    for number, stream in enumerate(tracks[:MAX_TRACKS_SHOWN]):
        words = [stream.metadata.get("title"), stream.language]
        label = ", ".join(word for word in words if word and word != "und")  # undetermined
        names.append(f"{number} ({label})" if label else str(number))
    return ", ".join(names) + (", ..." if len(tracks) > MAX_TRACKS_SHOWN else "")
