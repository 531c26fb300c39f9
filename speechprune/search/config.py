"""Configuration of the search job: one dataclass per section."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import OutputOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pruning.options import PruningOptions
from speechprune.search.where import Scalar


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Index and questions of a search.

    Parameters
    ----------
    index
        Folder of an index made by ``jobs/index_archive.py``.
    questions
        A manifest with ``question``, optional ``choices`` and ``answer``, and optional ``audio``: the
        recording that should be found. None where the question is given on the command line.
    limit
        Only the first N questions of it.
    where
        Only recordings whose columns meet these conditions, such as ``{project: apollo, date: [2025-01-01,
        2025-06-30]}``: a value, a list of values, or a range of two numbers or dates (null: an open end).
    columns
        Manifest with those columns and ``audio``; default: that of the archive, as it was when the index was
        brought up to date.
    seconds
        Only what is spoken between these seconds of each recording; null is its end. With it all states of
        these seconds are read.
    words
        Whether the question's words are searched for in the transcripts of a cascade's index too: ``off``;
        ``hybrid``, fused with late interaction by their ranks; ``only``, and nothing else.
    num_listed
        Number of best recordings in the output, per question.
    num_answered
        Number of best recordings that the model then answers about, with pruning.
    questions_per_pass
        Number of questions that share one read of the index.
    exact
        Whether all states are read even where the index has a search index (``index.search_codes``).
    num_candidates
        Number of recordings, per question, whose states are read where there is one; at least
        ``num_listed``.
    transcripts
        ``transcripts.jsonl`` of a built benchmark, to compare with a search for words in the transcripts;
        None for no comparison.
    """

    index: str
    questions: str | None = None
    limit: int | None = None
    where: dict[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    columns: str | None = None
    seconds: tuple[float, float | None] | None = None
    words: Literal["off", "hybrid", "only"] = "off"
    num_listed: int = 20
    num_answered: int = 3
    questions_per_pass: int = 64
    exact: bool = False
    num_candidates: int = 32
    transcripts: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_listed", "questions_per_pass", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.seconds is not None and not 0 <= self.seconds[0] < self.span[1]:
            raise ValueError(f"seconds is {list(self.seconds)}: give 0 <= start < end, or null for the end")
        if not 0 <= self.num_answered <= self.num_listed:
            raise ValueError(
                f"num_answered is {self.num_answered}: give 0 to num_listed, which is {self.num_listed}"
            )

    @property
    def span(self) -> tuple[float, float]:
        """Return ``seconds`` with their end, which may be infinite."""
        start, end = self.seconds or (0.0, None)
        return start, math.inf if end is None else end


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Configuration of ``jobs/search_archive.py``."""

    search: SearchOptions
    model: ModelOptions
    output: OutputOptions
    encoding: EncodingOptions = field(default_factory=EncodingOptions)
    pruning: PruningOptions = field(default_factory=PruningOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)
    ray: RayOptions = field(default_factory=RayOptions)
