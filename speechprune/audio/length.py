"""Lengths of recordings without decoding them: as headers state them, and as packets add up."""

from __future__ import annotations

from speechprune.audio.container import choose_track, open_container, open_file
from speechprune.audio.packets import PacketReader, seek_is_exact


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

    Read from the header where that is exact (see ``seek_is_exact``), else counted from all packets.
    """
    try:
        with open_file(uri, uri) as file, open_container(file, uri) as container:
            stream = choose_track(container, uri, track)
            if seek_is_exact(container, stream) and stream.time_base and stream.duration:
                return float(stream.duration * stream.time_base)
            return PacketReader(container, stream, uri).count()
    except Exception:  # see above
        return None
