"""Lengths of recordings without decoding them: as headers state them, and as packets add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechprune.audio.container import choose_track, open_container, open_file
from speechprune.audio.packets import PacketReader, seek_is_exact

if TYPE_CHECKING:
    import av

TAIL_SECONDS = 1.0  # around a header's end, in which the last packet must end


def header_seconds(uri: str) -> float | None:
    """Length of a recording as its header states it; None if there is none to be read."""
    import av

    try:
        with open_file(uri, uri) as file, open_container(file, uri) as container:
            return None if container.duration is None else container.duration / av.time_base
    except Exception:  # a damaged file, or a store out of reach: decoding will report it
        return None


def recording_seconds(uri: str, track: int | None = None) -> float | None:
    """Length of a track as decoding will find it; None if it can't be read.

    Read from the header where a seek is exact (see ``seek_is_exact``) and finds that the sound ends where the
    header states it, else counted from all packets.
    """
    try:
        with open_file(uri, uri) as file:
            with open_container(file, uri) as container:
                seconds = _confirmed_seconds(container, choose_track(container, uri, track))
            if seconds is None:
                with open_container(file, uri) as container:
                    seconds = PacketReader(container, choose_track(container, uri, track), uri).count()
            return seconds
    except Exception:  # see above
        return None


def _confirmed_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if not seek_is_exact(container, stream) or stream.time_base is None or stream.duration is None:
        return None
    seconds = float(stream.duration * stream.time_base)
    first = stream.start_time or 0
    container.seek(first + int(max(0.0, seconds - TAIL_SECONDS) / stream.time_base), stream=stream)
    ends = [
        (packet.pts - first + (packet.duration or 0)) * stream.time_base
        for packet in container.demux(stream)
        if packet.pts is not None
    ]
    return seconds if abs(max(ends, default=0) - seconds) < TAIL_SECONDS else None
