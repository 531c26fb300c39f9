"""A sample of the recordings that a launch will read, for a plan of it: headers and sizes, none decoded."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TypeVar

import numpy as np
import pyarrow as pa

from speechprune import storage
from speechprune.data import Row, column_values
from speechprune.data.index_files import WindowsDirectory
from speechprune.pipeline.preview import NUM_READERS, slice_seconds
from speechprune.pipeline.tasks import Tasks, unpack_items

NUM_HEADERS = 1000  # read at most: some seconds on an object store

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """One recording, or a slice of one."""

    seconds: float | None  # None where its header states none
    num_bytes: float = 0  # that are read: of its file, or of its windows in an index
    is_stored: bool = False  # whether an index holds it: then it is neither decoded nor encoded
    is_remote: bool = False  # whether it is in an object store
    num_answers: Mapping[str, int] = field(default_factory=dict)  # to be made, by the name of their point


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some recordings, which stand for all of a step."""

    recordings: Sequence[Sampled]  # each with seconds: of one whose header states none the others' mean
    num_all: int  # recordings that the sample was taken from
    # num_unknown, num_missing: recordings whose header states no length, and those that can't be found
    num_unknown: int = 0
    num_missing: int = 0
    num_malformed: int = 0  # recordings left out, as their rows are malformed

    @property
    def scale(self) -> float:
        """Number of recordings that each stands for."""
        return self.num_all / max(1, len(self.recordings) + self.num_missing)

    def total(self, amount: Callable[[Sampled], float]) -> float:
        """Sum of an amount over all recordings."""
        return self.scale * sum(map(amount, self.recordings))

    @property
    def audio_seconds(self) -> float:
        """Length of all recordings."""
        return self.total(lambda one: one.seconds or 0.0)

    @property
    def mean_seconds(self) -> float:
        """Mean length of a recording."""
        return self.audio_seconds / max(1, self.num_all)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Recordings that an index holds."""

    seconds: dict[str, float] = field(default_factory=dict)  # of each, by its address
    bytes_per_second: float = 0.0  # of their windows
    is_remote: bool = False

    @classmethod
    def of(cls, directory: WindowsDirectory) -> Stored:
        """Read the lengths of the recordings in an index, not their windows."""
        ends = directory.read_columns(["recording", "end_seconds"]).group_by("recording")
        table = ends.aggregate([("end_seconds", "max")])
        seconds = dict(column_values(table, ("recording", "end_seconds_max")))
        num_bytes = sum(directory.sizes().values())
        rate = num_bytes / sum(seconds.values()) if num_bytes else 0.0
        return cls(seconds=seconds, bytes_per_second=rate, is_remote=storage.is_remote(directory.path))

    def sampled(self, uri: str, num_answers: Mapping[str, int]) -> Sampled:
        """One of the recordings."""
        seconds = self.seconds[uri]
        return Sampled(
            seconds=seconds,
            num_bytes=seconds * self.bytes_per_second,
            is_stored=True,
            is_remote=self.is_remote,
            num_answers=num_answers,
        )


def sample_tasks(tasks: Tasks, points: Sequence[str], stored: Stored) -> Sample:
    """Look at a sample of tasks; those of malformed rows are left out.

    ``points``: names of all points; of a task without ``missing_points`` every item is asked at each.
    """
    valid = np.flatnonzero(~tasks.are_malformed)

    def look(row: Row) -> Sampled | None:
        if row["missing_points"] is None:
            num_answers = dict.fromkeys(points, unpack_items(row["items"]).num_rows)
        else:
            num_answers = Counter(name for names in row["missing_points"] for name in names)
        if row["index_parts"] is not None:
            return stored.sampled(row["audio"], num_answers)
        found = _look_at(row)
        return None if found is None else replace(found, num_answers=num_answers)

    sample = _sample(len(valid), lambda numbers: tasks.make(valid[numbers]), look)
    return replace(sample, num_malformed=len(tasks) - len(valid))


def sample_files(uris: Sequence[str]) -> Sample:
    """Look at a sample of whole files, by their addresses."""
    spans = {name: pa.nulls(len(uris), pa.float64()) for name in ("start", "end")}
    table = pa.table({"audio": pa.array(uris, pa.string())} | spans)
    return _sample(len(table), lambda numbers: table.take(pa.array(numbers)), _look_at)


def _look_at(row: Row) -> Sampled | None:
    """Read the header of a recording; None where it is not there."""
    uri = row["audio"]
    try:
        num_bytes = storage.num_bytes(uri)
    except (OSError, ValueError):  # not there, or out of reach
        return None
    return Sampled(seconds=slice_seconds(row), num_bytes=num_bytes, is_remote=storage.is_remote(uri))


def pick(everything: Sequence[Value]) -> list[Value]:
    """A seeded choice of ``NUM_HEADERS``, in order; all where there are no more."""
    if len(everything) <= NUM_HEADERS:
        return list(everything)
    places = sorted(random.Random(0).sample(range(len(everything)), NUM_HEADERS))
    return [everything[place] for place in places]


def _sample(
    num_all: int, take: Callable[[np.ndarray], pa.Table], look: Callable[[Row], Sampled | None]
) -> Sample:
    rows = take(np.array(pick(range(num_all)), np.int64)).to_pylist()
    with ThreadPoolExecutor(NUM_READERS) as pool:
        looked = list(pool.map(look, rows))
    found = [one for one in looked if one is not None]
    known = [one.seconds for one in found if one.seconds is not None]
    mean = fmean(known) if known else 0.0
    return Sample(
        recordings=[one if one.seconds is not None else replace(one, seconds=mean) for one in found],
        num_all=num_all,
        num_unknown=len(found) - len(known),
        num_missing=len(looked) - len(found),
    )
