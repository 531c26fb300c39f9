"""Ways in which a file of an archive is not what its name says; each from bytes and a seeded generator."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np

HEADER_BYTES = 200
LIES = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
WAV_FIELDS = {
    "channels": (22, "H"),
    "rate": (24, "I"),
    "bits": (34, "H"),
    "length": (40, "I"),
    "riff": (4, "I"),
}
# playlists, whose targets FFmpeg would open: @FILE@, @ADDRESS@ and @PORT@ stand for ones that exist
TEXTS = (
    b"These are the minutes of the meeting.\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n@FILE@\n#EXT-X-ENDLIST\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n@ADDRESS@\n#EXT-X-ENDLIST\n",
    b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n@ADDRESS@\n",
    b"ffconcat version 1.0\nfile '@FILE@'\n",
    b"ffconcat version 1.0\nfile '@ADDRESS@'\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio @PORT@ RTP/AVP 0\n",
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
)

Corruption = Callable[[bytes, np.random.Generator], bytes]


def flipped_bits(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bits anywhere."""
    return _flip(data, rng.integers(0, len(data), rng.integers(1, 65)), rng)


def flipped_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bits where formats say what they are."""
    return _flip(data, rng.integers(0, min(HEADER_BYTES, len(data)), rng.integers(1, 9)), rng)


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    """Only so much of it."""
    return data[: rng.integers(0, len(data))]


def hole(data: bytes, rng: np.random.Generator) -> bytes:
    """A piece is missing."""
    begin, end = np.sort(rng.integers(0, len(data), 2))
    return data[:begin] + data[end:]


def lying_wav_header(data: bytes, rng: np.random.Generator) -> bytes:
    """A WAV header that lies about length, rate, channels or bits; other formats are put behind one."""
    if data[:4] != b"RIFF":
        wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
        data = wav + data
    changed = bytearray(data)
    for field in rng.choice(list(WAV_FIELDS), rng.integers(1, 4), replace=False):
        offset, kind = WAV_FIELDS[field]
        lie = int(rng.choice(LIES)) % 2 ** (8 * struct.calcsize(kind))
        struct.pack_into(f"<{kind}", changed, offset, lie)
    return bytes(changed)


def lying_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Four bytes of any header are another number."""
    changed = bytearray(data.ljust(HEADER_BYTES, b"\0"))
    struct.pack_into(
        rng.choice(["<I", ">I"]), changed, int(rng.integers(0, HEADER_BYTES - 4)), rng.choice(LIES)
    )
    return bytes(changed)


def nested_archive(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive in an archive, in an archive."""
    for kind in rng.choice(["zip", "tar", "gzip"], rng.integers(1, 5)):
        packed = io.BytesIO()
        if kind == "zip":
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("recording.wav", data)
        elif kind == "tar":
            with tarfile.open(fileobj=packed, mode="w") as archive:
                member = tarfile.TarInfo("recording.wav")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        else:
            packed.write(gzip.compress(data, 1))
        data = packed.getvalue()
    return data


def text(data: bytes, rng: np.random.Generator) -> bytes:
    """A text that calls itself audio; half of them with something in front, or within."""
    words = TEXTS[rng.integers(0, len(TEXTS))]
    if rng.integers(0, 2):
        return words * int(rng.integers(1, 50))
    place = int(rng.integers(0, len(data)))
    return (
        data[:place] + words + data[place:] if rng.integers(0, 2) else b"\n" * int(rng.integers(1, 9)) + words
    )


def zeros(data: bytes, rng: np.random.Generator) -> bytes:
    """Zero bytes, or none at all."""
    return bytes(int(rng.integers(0, 2)) * len(data))


def noise(data: bytes, rng: np.random.Generator) -> bytes:
    """Any bytes."""
    return rng.bytes(len(data))


def two_files(data: bytes, rng: np.random.Generator) -> bytes:
    """One behind the other, the second begun somewhere."""
    return data + data[rng.integers(0, len(data)) :]


CORRUPTIONS: tuple[Corruption, ...] = (
    flipped_bits,
    flipped_header,
    truncated,
    hole,
    lying_wav_header,
    lying_header,
    nested_archive,
    text,
    zeros,
    noise,
    two_files,
)


def _flip(data: bytes, places: np.ndarray, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)
