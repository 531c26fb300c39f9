"""Plan of an incremental run: differences between archive and index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from speechprune.data.index_files import Contents, IndexedRecording
from speechprune.index.listing import Recording


@dataclass(frozen=True)
class Copy:
    """A recording with the same content as another one that is indexed or will be in this run."""

    source: Recording
    target: Recording


@dataclass
class Plan:
    """Work of an incremental run."""

    # recordings that the index lacks, wholly or in part
    encode: list[Recording] = field(default_factory=list)
    # renamed or copied recordings, whose windows are written again without encoding
    copies: list[Copy] = field(default_factory=list)
    # added, changed, unchanged: recordings by their difference to the last run
    added: list[Recording] = field(default_factory=list)
    changed: list[Recording] = field(default_factory=list)
    unchanged: list[Recording] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)  # addresses that are no longer in the archive


def make_plan(archive: Sequence[Recording], contents: Contents) -> Plan:
    """Compare the archive with the index.

    ``contents``: all versions in the index, including those no longer in the archive.
    """
    plan = Plan()
    indexed = {uri for uri, _ in contents}
    plan.removed = sorted(indexed - {recording.uri for recording in archive})
    # recordings by content, to find copies: first the indexed ones, then those of this run
    holders: dict[str, Recording] = {}
    for uri, version in sorted(contents):
        if contents[uri, version].is_complete:
            holders.setdefault(version, Recording(uri, version, 0, is_hashed=True))
    for recording in archive:
        there = contents.get((recording.uri, recording.version))
        if there is not None and there.is_complete:
            plan.unchanged.append(recording)
            continue
        (plan.changed if recording.uri in indexed and there is None else plan.added).append(recording)
        holder = holders.get(recording.version) if recording.is_hashed else None
        if holder is not None and there is None:
            plan.copies.append(Copy(holder, recording))
        else:
            plan.encode.append(recording)
            if recording.is_hashed:
                holders.setdefault(recording.version, recording)
    return plan


def missing_shards(recording: Recording, contents: Contents, num_shards: int) -> list[int]:
    """Return the numbers of the shards that are still to be encoded.

    ``num_shards``: number of shards by the length in the recording's header; shards of another count are
    encoded again.
    """
    there = contents.get((recording.uri, recording.version)) or IndexedRecording(num_shards)
    return there.missing if there.num_shards == num_shards else list(range(num_shards))
