"""One directory holds the work of one set of settings: ``run.json`` says which."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from speechprune import storage
from speechprune.config import ConfigError
from speechprune.pipeline.directories.run_directory import JobDirectory, RunDirectory

if TYPE_CHECKING:
    from speechprune.index.config import IndexConfig
    from speechprune.models.options import ModelOptions
    from speechprune.pipeline.config import BatchQAConfig
    from speechprune.search.config import SearchConfig
    from speechprune.sweep.config import SweepConfig

# these spread the work and move rounding at most; all other model settings can change an answer
FREE_MODEL_SETTINGS = {
    "path",
    "revision",
    "device",
    "device_map",
    "encoder_batch_size",
    "prefill_batch_tokens",
}
PACKAGES = ("speechprune", "ray", "torch", "transformers", "pyarrow")


@contextlib.contextmanager
def output_path_errors(place: str = "output.path") -> Iterator[None]:
    """Name the setting where what it leads to can't be read: no such bucket, no credentials, not JSON."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{place} can't be used: {error}") from error


def claim_answers(
    run: RunDirectory,
    config: BatchQAConfig | IndexConfig | SearchConfig,
    states: str | None,
    place: str = "output.path",
) -> None:
    """Claim a run directory for a config's answers; see ``claim_directory``.

    Parameters
    ----------
    states
        How the index that recordings are taken from stores them; None without one.
    place
        The setting that leads to the directory.
    """
    with output_path_errors(place):
        holds = "answers" if run.has_answers() else None
    claim_directory(run, answer_settings(config, states), config, PACKAGES, holds=holds, place=place)


def claim_directory(
    directory: JobDirectory,
    settings: dict[str, Any],
    config: Any,
    packages: Sequence[str],
    *,
    holds: str | None,
    may_be_new: Collection[str] = (),
    place: str = "output.path",
) -> None:
    """Write ``run.json``, or check that what is already there was made with the same settings.

    Parameters
    ----------
    directory
        Where a job writes to.
    settings
        All that can change what it writes, by dotted name.
    config
        Dataclass of the whole job, for the record.
    packages
        Those whose versions are recorded.
    holds
        What is there already, such as "answers"; None where nothing is.
    may_be_new
        Settings that what is there need not have: they are added to the record.
    place
        The setting that leads to the directory.

    Raises
    ------
    ConfigError
        Work of other settings is there (the sentence names the first that differs), or the
        place can't be written to.
    """
    with output_path_errors(place):
        earlier = directory.read_run()
    if holds:
        if earlier is None:
            raise ConfigError(f"{place} {directory.path} holds {holds} but no run.json: give another {place}")
        before_all = earlier["settings"]
        new = {name: settings[name] for name in may_be_new if name not in before_all}
        for name, value in settings.items():
            before = (before_all | new).get(name)
            if before != value:
                raise ConfigError(
                    f"{name} is {value!r}, but the {holds} in {directory.path} were made with {before!r}: "
                    f"give another {place}, or the same setting to continue"
                )
        if new:
            _write_run(directory, earlier | {"settings": before_all | new}, place)
        return
    record = {
        "settings": settings,
        "config": dataclasses.asdict(config),
        "versions": {name: version(name) for name in packages},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write_run(directory, record, place)


def _write_run(directory: JobDirectory, record: dict[str, Any], place: str) -> None:
    try:
        directory.write_run(record)
    except storage.StorageError as error:
        raise ConfigError(f"{place} can't be written to: {error}") from error


def claim_sweep(run: RunDirectory, config: SweepConfig) -> None:
    """Claim a run directory for a sweep's answers.

    Grid, models and benchmarks may change from launch to launch, as each answer says which it is of. What a
    name stands for must stay, and what all of them share.
    """
    from speechprune.models.fingerprint import fingerprint  # torch, which not every job that claims needs

    with output_path_errors():
        holds = "answers" if run.has_answers() else None
    named = {f"model {m.path} (fingerprint of its content)": fingerprint(m) for m in config.models}
    named |= {f"input.manifest {name}": source for name, source in config.input.manifests.items()}
    asking = dataclasses.asdict(config.answering)
    del asking["query_text"]  # each point's own
    shared = _model_settings(config.model) | {f"answering.{name}": value for name, value in asking.items()}
    claim_directory(run, named | shared, config, PACKAGES, holds=holds, may_be_new=named)


def claim_index(path: str, config: IndexConfig, holds: str | None) -> None:
    """Claim a model's folder of an index for windows of one kind."""
    settings = _model_settings(config.model) | {
        "index.states": config.index.states,
        "index.shard_minutes": config.index.shard_minutes,
    }
    claim_directory(JobDirectory(path), settings, config, PACKAGES, holds=holds, place="index.path")


def answer_settings(config: BatchQAConfig | IndexConfig | SearchConfig, states: str | None) -> dict[str, Any]:
    """All that can change an answer, by dotted name: a run directory holds answers of one such set."""
    from speechprune.models.fingerprint import fingerprint  # torch, which not every job that claims needs

    settings: dict[str, Any] = {"model.path (fingerprint of its content)": fingerprint(config.model)}
    settings |= _model_settings(config.model)
    method = config.pruning.build()
    settings["pruning.method"] = method.name
    settings |= {f"pruning.{name}": value for name, value in dataclasses.asdict(method).items()}
    settings |= {f"answering.{name}": value for name, value in dataclasses.asdict(config.answering).items()}
    settings["index.states of input.index"] = states
    return settings


def _model_settings(model: ModelOptions) -> dict[str, Any]:
    return {
        f"model.{name}": value
        for name, value in dataclasses.asdict(model).items()
        if name not in FREE_MODEL_SETTINGS
    }
