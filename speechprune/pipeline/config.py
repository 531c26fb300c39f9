"""Configuration of the main job: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechprune.data.sources import InputOptions
from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.types import AnsweringOptions
from speechprune.models.options import ModelOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pruning.options import PruningOptions


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the answers go.

    Parameters
    ----------
    path
        Run directory, local or any fsspec URL.
    max_failed_fraction
        The job exits with code 1 if a larger share of its items failed.
    """

    path: str
    max_failed_fraction: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f"max_failed_fraction is {self.max_failed_fraction}: give a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class BatchQAConfig:
    """Configuration of ``jobs/batch_qa.py``."""

    input: InputOptions
    model: ModelOptions
    output: OutputOptions
    encoding: EncodingOptions = field(default_factory=EncodingOptions)
    pruning: PruningOptions = field(default_factory=PruningOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)
    ray: RayOptions = field(default_factory=RayOptions)
