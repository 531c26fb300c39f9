"""Compaction of an index: joins the small files of many runs, which an object store reads slowly."""

from __future__ import annotations

from collections.abc import Callable

from speechprune import storage
from speechprune.data.index_files import WindowsDirectory, read_parts

TARGET_BYTES = 128 << 20  # files smaller than half of this are joined, up to this


def compact(directory: WindowsDirectory, report: Callable[[int, int], None]) -> int:
    """Join small files, with recordings in order; returns how many files fewer there are.

    The joined file is written before its parts are removed: a kill between the two leaves duplicate shards,
    which ``settle`` removes.

    - ``directory``: after ``settle``, so that no shard is in two files.
    - ``report``: called after every new file with the number of small files joined so far, and of all.
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
    num_seen = num_removed = 0
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
            num_removed += len(group) - 1
        num_seen += len(group)
        report(num_seen, len(small))
    return num_removed
