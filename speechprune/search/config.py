"""Configuration of the search job: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import OutputOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pruning.options import PruningOptions


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
    num_listed: int = 20
    num_answered: int = 3
    questions_per_pass: int = 64
    exact: bool = False
    num_candidates: int = 64
    transcripts: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_listed", "questions_per_pass", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if not 0 <= self.num_answered <= self.num_listed:
            raise ValueError(
                f"num_answered is {self.num_answered}: give 0 to num_listed, which is {self.num_listed}"
            )


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
