"""Files that are read in parts, local or in an object store."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from speechprune import storage

GAP_BYTES = 1 << 16  # between two parts of a file that one request fetches, at most


def read_ranges(uri: str, ranges: Sequence[tuple[int, int]]) -> tuple[list[memoryview], int]:
    """Read parts of a file: memory-mapped, or of a remote file in few requests.

    Parameters
    ----------
    uri
        Address of the file.
    ranges
        First byte of each part and the one behind its last, in ascending order.

    Returns
    -------
    tuple
        The parts, and the number of requests; of a local file the number of parts.
    """
    fs, path = storage.filesystem(uri)
    with storage.storage_errors(uri):
        if not storage.is_remote(uri):
            with open(path, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return [data[start:end] for start, end in ranges], len(ranges)
        starts: list[int] = []
        ends: list[int] = []
        places = []  # of each part: in which request it is
        for start, end in ranges:
            if ends and start - ends[-1] <= GAP_BYTES:
                ends[-1] = end
            else:
                starts.append(start)
                ends.append(end)
            places.append(len(ends) - 1)
        fetched = fs.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
    views = [memoryview(part) for part in fetched]
    found = zip(ranges, places, strict=True)
    return [views[i][start - starts[i] : end - starts[i]] for (start, end), i in found], len(starts)
