"""The config of a search: one dataclass a section."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import OutputOptions, RayOptions
from speechprune.pruning.options import PruningOptions


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched, and for what.

    Parameters
    ----------
    index
        Of ``jobs/index_archive.py``.
    questions
        A manifest with ``question``, optional ``choices`` and ``answer``, and optional ``audio``: the
        recording that should be found. None where the question is given on the command line.
    limit
        Only the first so many questions of it.
    num_listed
        Best recordings that are written down for each question.
    num_answered
        Best recordings that are then asked, by the model, with pruning.
    questions_per_pass
        The index is read once for so many questions.
    transcripts
        ``transcripts.jsonl`` of a built benchmark, to compare with a search for words in what was truly said;
        None for none.
    """

    index: str
    questions: str | None = None
    limit: int | None = None
    num_listed: int = 20
    num_answered: int = 3
    questions_per_pass: int = 64
    transcripts: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_listed", "questions_per_pass"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if not 0 <= self.num_answered <= self.num_listed:
            raise ValueError(
                f"num_answered is {self.num_answered}: give 0 to num_listed, which is {self.num_listed}"
            )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Everything that ``jobs/search_archive.py`` can be told."""

    search: SearchOptions
    model: ModelOptions
    output: OutputOptions
    pruning: PruningOptions = field(default_factory=PruningOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)
    ray: RayOptions = field(default_factory=RayOptions)
