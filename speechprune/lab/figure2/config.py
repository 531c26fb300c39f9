"""Configuration of the paper's Fig. 2: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from speechprune.data.sources import InputOptions
from speechprune.inference.point import Point
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pruning import PruningMethod
from speechprune.pruning.options import PruningOptions


@dataclass(frozen=True, kw_only=True)
class TSNEOptions:
    """Settings of the figure.

    Parameters
    ----------
    item_id
        Item that is drawn; default: the manifest's first.
    beside
        Method that is compared with ``pruning.method``, with the same settings.
    perplexity
        Perplexity of t-SNE: about how many neighbours a token has.
    seed
        Seed of t-SNE.
    """

    item_id: str | None = None
    beside: str = "random"
    perplexity: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.perplexity > 0:
            raise ValueError(f"perplexity is {self.perplexity}: give more than 0, 30 as a rule")


@dataclass(frozen=True, kw_only=True)
class FigureOutputOptions:
    """Where the figure is written.

    Parameters
    ----------
    path
        Folder, local or any fsspec URL, of ``figure2.png`` and ``figure2.svg``.
    """

    path: str


@dataclass(frozen=True, kw_only=True)
class Figure2Config:
    """Configuration of the job; distances are means over the first ``input.limit`` items."""

    input: InputOptions
    model: ModelOptions
    output: FigureOutputOptions
    pruning: PruningOptions = field(default_factory=PruningOptions)
    map: TSNEOptions = field(default_factory=TSNEOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)

    @property
    def methods(self) -> dict[str, PruningMethod]:
        """The two methods, by their names with settings."""
        both = (self.pruning, replace(self.pruning, method=self.map.beside))
        query_text = self.answering.query_text
        points = [Point(method=options.build(), query_text=query_text) for options in both]
        return {point.group_name: point.method for point in points}
