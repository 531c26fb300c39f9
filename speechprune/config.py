"""Configs of the jobs: one dataclass a section, read from YAML and ``section.key=value`` overrides."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from speechprune.models.loading import ModelOptions
from speechprune.pruning import METHODS, PruningMethod
from speechprune.pruning.binarized_attention import Scale
from speechprune.pruning.similarity import Allocation
from speechprune.questions import AnsweringOptions

MethodName = Literal[
    "speechprune", "first_phase", "second_phase", "random", "random_crop", "truncate", "none"
]


class ConfigError(ValueError):
    """A config that can't be used; one line names the key and what to give."""


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What is asked of what.

    Parameters
    ----------
    manifest
        Parquet, JSONL or CSV file (local or any fsspec URL), a folder of Parquet files, or a
        Hugging Face dataset by hub id or folder.
    split
        Split of a Hugging Face dataset.
    limit
        Only the first so many items.
    """

    manifest: str
    split: str = "test"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}: give at least 1, or null for all items")


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """Which tokens are kept: a method by name, and the settings that methods share.

    Parameters
    ----------
    method
        ``speechprune``, ``first_phase``, ``second_phase``, ``random``, ``random_crop``,
        ``truncate`` or ``none``.
    pruning_rate
        Share of min(phase1_budget, tokens) that is dropped, 0 to below 1.
    phase1_budget
        Tokens that phase 1 leaves; 750 are 30 s of Qwen2-Audio.
    allocation
        ``fill`` gives the whole budget away, ``floor`` is the paper's Eq 7 as written.
    scale
        ``sign`` as in the paper, ``xnor`` times the mean absolute values.
    seed
        Of the random methods.
    """

    method: MethodName = "speechprune"
    pruning_rate: float = 0.2
    phase1_budget: int = 750
    allocation: Allocation = "fill"
    scale: Scale = "sign"
    seed: int = 0

    def __post_init__(self) -> None:
        METHODS["speechprune"](**self._settings_of("speechprune"))
        self.build()

    def build(self) -> PruningMethod:
        """The method, with those of the settings that it has."""
        return METHODS[self.method](**self._settings_of(self.method))

    def _settings_of(self, method: str) -> dict[str, Any]:
        names = {f.name for f in dataclasses.fields(METHODS[method])}
        return {name: value for name, value in vars(self).items() if name in names}


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
class RayOptions:
    """How the work is spread.

    Parameters
    ----------
    min_actors, max_actors
        Size of the pool of answer actors, each with the model; autoscaled where they differ.
        Default: one for every ``gpus_per_actor`` of the cluster's GPUs, one on a cluster without.
    gpus_per_actor
        GPUs of an actor; a fraction shares one. Default: 1 where the cluster has any, else 0.
    recordings_per_block
        Recordings that are scheduled, batched, retried and written together.
    max_attempts
        How often a recording may kill a worker that does nothing else meanwhile, before it becomes a
        failed row.
    """

    min_actors: int | None = None
    max_actors: int | None = None
    gpus_per_actor: float | None = None
    recordings_per_block: int = 4
    max_attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("min_actors", "max_actors", "recordings_per_block", "max_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if self.min_actors and self.max_actors and self.min_actors > self.max_actors:
            raise ValueError(f"min_actors is {self.min_actors}, more than max_actors, {self.max_actors}")
        if self.gpus_per_actor is not None and not 0 <= self.gpus_per_actor < math.inf:
            raise ValueError(f"gpus_per_actor is {self.gpus_per_actor}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class BatchQAConfig:
    """Everything that ``jobs/batch_qa.py`` can be told."""

    input: InputOptions
    model: ModelOptions
    output: OutputOptions
    pruning: PruningOptions = field(default_factory=PruningOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)
    ray: RayOptions = field(default_factory=RayOptions)

    # what decides an answer: a run directory holds the answers of one value of these sections
    ANSWER_SECTIONS: ClassVar = ("model", "pruning", "answering")


def load_config(path: str, overrides: Sequence[str] = ()) -> BatchQAConfig:
    """Read a config file and apply ``section.key=value`` overrides.

    Raises
    ------
    ConfigError
        The file, a key or a value is wrong; one line names it and, for a misspelt key, the nearest.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"config {path} can't be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config {path} must hold sections such as input, model and output")
    for section, settings in list(values.items()):
        if settings is None:  # a section whose keys are all commented out
            values[section] = {}
    for override in overrides:
        _apply_override(values, override)
    return parse_config(values)


def parse_config(values: dict[str, Any]) -> BatchQAConfig:
    """Turn nested dicts into a config, refusing unknown keys.

    Raises
    ------
    ConfigError
        See ``load_config``.
    """
    _refuse_unknown_keys(values)
    empty: dict[str, Any] = {f.name: {} for f in dataclasses.fields(BatchQAConfig)}
    try:
        return TypeAdapter(BatchQAConfig).validate_python(empty | values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error


def _refuse_unknown_keys(values: dict[str, Any]) -> None:
    hints = get_type_hints(BatchQAConfig)
    sections = {
        f.name: [g.name for g in dataclasses.fields(hints[f.name])] for f in dataclasses.fields(BatchQAConfig)
    }
    for section, settings in ((str(name), value) for name, value in values.items()):
        if section not in sections:
            owners = [owner for owner, keys in sections.items() if section in keys]
            nearest = f"did you mean {owners[0]}.{section}?" if owners else _nearest(section, list(sections))
            raise ConfigError(f"unknown section {section}: {nearest}")
        if not isinstance(settings, dict):
            raise ConfigError(f"section {section} must hold keys and values, not {settings!r}")
        for key in map(str, settings):
            if key not in sections[section]:
                owners = [owner for owner, keys in sections.items() if key in keys]
                nearest = (
                    f"did you mean {owners[0]}.{key}?"
                    if owners
                    else _nearest(key, sections[section], f"{section}.")
                )
                raise ConfigError(f"unknown key {section}.{key}: {nearest}")


def _nearest(name: str, valid: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, valid, n=1) or [word for word in valid if name in word]
    return f"did you mean {prefix}{close[0]}?" if close else f"valid here: {', '.join(valid)}"


def _apply_override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(
            f"{override!r} is not an override: write section.key=value, as in pruning.pruning_rate=0.4"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, dict | list):  # no setting is one: this is text with braces, such as a prompt
        value = text
    settings = values.setdefault(section, {})
    if isinstance(settings, dict):  # if not, parse_config says so
        settings[key] = value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"][:2])
    if problem["type"] == "missing":
        return f"{name} is missing: set it in the config file or as {name}=..."
    if problem["type"] == "value_error":  # from a __post_init__, whose sentence begins with the key
        return f"{name}.{problem['ctx']['error']}"
    return f"{name} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
