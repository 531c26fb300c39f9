"""Configuration of the index job: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.states import StatesDType
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pruning.options import PruningOptions


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """Archive to be indexed.

    Parameters
    ----------
    path
        A folder with all below it, a glob such as ``s3://bucket/meetings/**``, or a manifest with a column
        ``audio``.
    audio_roots
        Folders, local or URLs, outside of which no recording is opened, whatever a manifest or a symbolic
        link names; default: anywhere.
    """

    path: str
    audio_roots: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """Location and layout of the index.

    Parameters
    ----------
    path
        Folder, local or any fsspec URL, with one subfolder per model.
    states
        Type of the stored states: ``float16``, or ``int8`` with half the bytes. A cascade stores token ids
        whichever it is.
    shard_minutes
        Part of a recording that is decoded, encoded and stored as one, rounded to whole windows of the model:
        a long recording occupies as many workers as it has parts.
    search_codes
        Whether the audio tokens are coded for approximate search too, in about 3 MB an hour of 25 tokens a
        second: searches then read these and the best candidates' states, not all states.
    compact
        Whether small files are joined at the end of a run.
    lease_minutes
        Time after which a run that doesn't renew its lease loses the index to another.
    """

    path: str
    states: StatesDType = "float16"
    shard_minutes: float = 5.0
    search_codes: bool = False
    compact: bool = False
    lease_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name in ("shard_minutes", "lease_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name):g}: give more than 0")

    def shard_seconds(self, window_seconds: float) -> float:
        """Return the length of a full shard: whole windows, at least one."""
        return max(1, round(self.shard_minutes * 60 / window_seconds)) * window_seconds


@dataclass(frozen=True, kw_only=True)
class StandingQuestions:
    """Standing questions, asked once about every recording.

    Parameters
    ----------
    path
        YAML list of ``question``, ``choices`` (optional) and ``id`` (optional).
    output
        Folder of the answers; each day's go to a run directory ``date=YYYY-MM-DD`` in it.
    """

    path: str | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) != (self.output is None):
            raise ValueError("path and output belong together: give both, or neither")


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Configuration of ``jobs/index_archive.py``."""

    archive: ArchiveOptions
    model: ModelOptions
    index: IndexOptions
    encoding: EncodingOptions = field(default_factory=EncodingOptions)
    questions: StandingQuestions = field(default_factory=StandingQuestions)
    pruning: PruningOptions = field(default_factory=PruningOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)
    ray: RayOptions = field(default_factory=RayOptions)
