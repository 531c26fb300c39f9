"""Configuration of the measurement on texts: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from speechprune.inference.point import DEFAULT_QUERY_TEXT, Point
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.sweep.grid import check_reference, expand_grid


@dataclass(frozen=True, kw_only=True)
class TextsOptions:
    """Texts in place of recordings.

    Parameters
    ----------
    texts
        SPIRAL's ``data.jsonl``, its lines in random order, or another file of its form.
    num_development
        Items at its start, on which settings were chosen.
    num_reported
        Items after those.
    num_answered
        Of them, items whose questions are also answered.
    development
        Measure the development items, not those after them.
    """

    texts: str
    num_development: int = 60
    num_reported: int = 400
    num_answered: int = 200
    development: bool = False

    def __post_init__(self) -> None:
        for name in ("num_development", "num_reported", "num_answered"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class EvidenceGrid:
    """Ways of pruning, as in a sweep's ``grid.points``.

    Parameters
    ----------
    points
        All that is measured by what it keeps.
    answered
        Those of them at which questions are answered too.
    reference
        Settings of the point that others at its pruning rate are tested against.
    """

    points: tuple[dict[str, Any], ...]
    answered: tuple[dict[str, Any], ...] = ()
    reference: dict[str, Any] = field(default_factory=lambda: {"method": "none"})

    def __post_init__(self) -> None:
        check_reference(self.all_points, self.reference)

    @property
    def answered_points(self) -> list[Point]:
        """Points at which questions are answered."""
        return expand_grid(self.answered, DEFAULT_QUERY_TEXT) if self.answered else []

    @property
    def all_points(self) -> list[Point]:
        """All points, each once."""
        points = [*expand_grid(self.points, DEFAULT_QUERY_TEXT), *self.answered_points]
        return list({point.name: point for point in points}.values())


@dataclass(frozen=True, kw_only=True)
class EvidenceOutputOptions:
    """Where the results are written.

    Parameters
    ----------
    path
        JSON file, local or any fsspec URL.
    """

    path: str


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """Configuration of ``jobs/measure_on_text.py``."""

    input: TextsOptions
    model: ModelOptions
    grid: EvidenceGrid
    output: EvidenceOutputOptions
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)
