"""Many small files to few large ones: what a year of nights leaves reads slowly from an object store."""

from __future__ import annotations

from collections.abc import Callable

from speechprune import storage
from speechprune.data.index_files import WindowsDirectory, read_parts

TARGET_BYTES = 128 << 20  # files smaller than half of this are joined, up to this


def compact(directory: WindowsDirectory, say: Callable[[int, int], None]) -> int:
    """Join small files, recordings in order.

    What is joined is written before its files go: a kill between the two leaves shards twice, which
    ``settle`` mends.

    Parameters
    ----------
    directory
        Settled, so that no shard lies in two files.
    say
        Told after every new file how many of the small files are joined, and of how many.

    Returns
    -------
    int
        Files that there are no more.
    """
    sizes = directory.sizes()
    small = [file for file, size in sizes.items() if size < TARGET_BYTES // 2]
    groups: list[list[str]] = []
    for file in small:
        if groups and sum(sizes[f] for f in groups[-1]) + sizes[file] <= TARGET_BYTES:
            groups[-1].append(file)
        else:
            groups.append([file])
    contents = directory.contents()
    num_seen = num_gone = 0
    for group in groups:
        if len(group) > 1:
            parts = [
                recording.parts[number]
                for _, recording in sorted(contents.items())
                for number in sorted(recording.parts)
                if recording.parts[number].file in group
            ]
            directory.write(read_parts(parts))
            for file in group:
                storage.remove(file)
            num_gone += len(group) - 1
        num_seen += len(group)
        say(num_seen, len(small))
    return num_gone
