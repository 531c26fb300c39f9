"""What a night has to do: archive against index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from speechprune.data.index_files import Contents, IndexedRecording
from speechprune.index.listing import Recording


@dataclass(frozen=True)
class Copy:
    """A recording with the content of another, which is indexed or about to be."""

    source: Recording
    target: Recording


@dataclass
class Plan:
    """What there is to do.

    Parameters
    ----------
    encode
        Recordings of which the index holds nothing, or not all.
    copies
        Renamed or copied ones, whose windows are written once more without encoding.
    added, changed, unchanged
        Recordings by what became of them since the last run.
    removed
        Addresses that the archive no longer has.
    """

    encode: list[Recording] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    added: list[Recording] = field(default_factory=list)
    changed: list[Recording] = field(default_factory=list)
    unchanged: list[Recording] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def make_plan(archive: Sequence[Recording], contents: Contents) -> Plan:
    """Compare what the archive holds with what the index does.

    Parameters
    ----------
    archive
        Of ``list_archive``.
    contents
        All versions in the index, also those that the archive has no more.
    """
    plan = Plan()
    indexed = {uri for uri, _ in contents}
    plan.removed = sorted(indexed - {recording.uri for recording in archive})
    # recordings by content, to find copies: what is indexed first, then what will be
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
    """Numbers of the shards that are still to be encoded.

    Parameters
    ----------
    num_shards
        By the recording's length as its header states it; what the index has of another count is of no use.
    """
    there = contents.get((recording.uri, recording.version)) or IndexedRecording(num_shards)
    return there.missing if there.num_shards == num_shards else list(range(num_shards))
