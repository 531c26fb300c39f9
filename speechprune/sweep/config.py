"""Configuration of the sweep job: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from speechprune.data.sources import InputOptions
from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.point import DEFAULT_QUERY_TEXT, Point
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import OutputOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pruning import NoPruning
from speechprune.sweep.grid import check_reference, expand_grid


@dataclass(frozen=True, kw_only=True)
class SweepInputOptions:
    """Benchmarks whose items are answered at every point.

    Parameters
    ----------
    manifest
        As for ``jobs/batch_qa.py``, every item with choices and a gold answer; or the arguments of
        ``jobs/build_benchmark.py``, ``CONFIG.yaml [section.key=value ...]``: that benchmark is built first
        if it isn't there. Or several of these by name.
    split
        Split of Hugging Face datasets.
    limit
        Number of items of each benchmark, from its start; all where it is null.
    index
        As for ``jobs/batch_qa.py``; with windows of every model.
    audio_roots
        As for ``jobs/batch_qa.py``.
    """

    manifest: str | dict[str, str]
    split: str = "test"
    limit: int | None = None
    index: str | None = None
    audio_roots: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.manifest:
            raise ValueError("manifest is empty: give one, or several by name")
        InputOptions(manifest="", split=self.split, limit=self.limit)

    @property
    def manifests(self) -> dict[str, str]:
        """By name of the benchmark; a lone one is called by its place."""
        return {self.manifest: self.manifest} if isinstance(self.manifest, str) else self.manifest


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """Ways of pruning.

    Parameters
    ----------
    points
        Blocks of settings whose values are one value or a list; all combinations are points. ``method``,
        the settings of ``pruning`` in ``jobs/batch_qa.py``, whatever else the method's class has, and
        ``query_text``.
    models
        Paths in place of ``model.path``, each answers all items with the other settings of ``model``.
    """

    points: tuple[dict[str, Any], ...]
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expand_grid(self.points, DEFAULT_QUERY_TEXT)


@dataclass(frozen=True, kw_only=True)
class SweepAnsweringOptions(AnsweringOptions):
    """How questions are put and answered, see ``AnsweringOptions``; its two checks are on here.

    Where choices are scored by their texts, turn ``permuted_check`` off: no letter is asked for.
    """

    permuted_check: bool = True
    no_audio_baseline: bool = True


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Title, slices and reference of the report.

    Parameters
    ----------
    title
        Heading of the report.
    slices
        Accuracy apart for these: ``position`` of the answer in the recording, ``length`` of the recording,
        or any other column of the manifest, such as ``scenario``.
    reference
        Settings of the point that the others are tested against; where they leave the pruning rate open, it
        is the point of each one's own rate. Default: method ``none``, where the grid has it.
    """

    title: str = "Accuracy against cost"
    slices: tuple[str, ...] = ()
    reference: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Configuration of the sweep job."""

    input: SweepInputOptions
    model: ModelOptions
    grid: GridOptions
    output: OutputOptions
    encoding: EncodingOptions = field(default_factory=EncodingOptions)
    answering: SweepAnsweringOptions = field(default_factory=SweepAnsweringOptions)
    report: ReportOptions = field(default_factory=ReportOptions)
    ray: RayOptions = field(default_factory=RayOptions)

    def __post_init__(self) -> None:
        try:
            check_reference(self.points, self.report.reference)
        except ValueError as error:
            raise ValueError(f"report.{error}") from error

    @property
    def points(self) -> list[Point]:
        """Of the grid."""
        return expand_grid(self.grid.points, self.answering.query_text)

    @property
    def models(self) -> list[ModelOptions]:
        """``model`` at each path."""
        return [replace(self.model, path=path) for path in self.grid.models or (self.model.path,)]

    @property
    def reference(self) -> dict[str, Any] | None:
        """``report.reference``, or its default."""
        unpruned = {"method": NoPruning.name}
        if self.report.reference is None and any(p.method.name == NoPruning.name for p in self.points):
            return unpruned
        return self.report.reference
