"""One directory holds the work of one set of settings: ``run.json`` says which."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from speechprune import storage
from speechprune.config_loading import ConfigError
from speechprune.pipeline.run_directory import JobDirectory, RunDirectory

if TYPE_CHECKING:
    from speechprune.config import BatchQAConfig

# these spread the work and move rounding at most; all other model settings can change an answer
FREE_MODEL_SETTINGS = {
    "path",
    "revision",
    "device",
    "device_map",
    "encoder_batch_size",
    "prefill_batch_tokens",
}


@contextlib.contextmanager
def output_path_errors() -> Iterator[None]:
    """Name the setting where what it leads to can't be read: no such bucket, no credentials, not JSON."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"output.path can't be used: {error}") from error


def claim(run: RunDirectory, config: BatchQAConfig) -> None:
    """Claim a run directory for a config's answers; see ``claim_directory``."""
    packages = ("speechprune", "ray", "torch", "transformers", "pyarrow")
    with output_path_errors():
        holds = "answers" if run.has_answers() else None
    claim_directory(run, answer_settings(config), config, packages, holds=holds)


def claim_directory(
    directory: JobDirectory,
    settings: dict[str, Any],
    config: Any,
    packages: Sequence[str],
    *,
    holds: str | None,
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

    Raises
    ------
    ConfigError
        Work of other settings is there (the sentence names the first that differs), or the
        place can't be written to.
    """
    with output_path_errors():
        earlier = directory.read_run()
    if holds:
        if earlier is None:
            raise ConfigError(
                f"output.path {directory.path} holds {holds} but no run.json: give another output.path"
            )
        for name, value in settings.items():
            before = earlier["settings"].get(name)
            if before != value:
                raise ConfigError(
                    f"{name} is {value!r}, but the {holds} in {directory.path} were made with {before!r}: "
                    "give another output.path, or the same setting to continue"
                )
        return
    record = {
        "settings": settings,
        "config": dataclasses.asdict(config),
        "versions": {name: version(name) for name in packages},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        directory.write_run(record)
    except storage.StorageError as error:
        raise ConfigError(f"output.path can't be written to: {error}") from error


def answer_settings(config: BatchQAConfig) -> dict[str, Any]:
    """All that can change an answer, by dotted name: a run directory holds answers of one such set."""
    from speechprune.models.loading import fingerprint  # torch, which not every job that claims needs

    settings: dict[str, Any] = {"model.path (fingerprint of its content)": fingerprint(config.model)}
    for name, value in dataclasses.asdict(config.model).items():
        if name not in FREE_MODEL_SETTINGS:
            settings[f"model.{name}"] = value
    method = config.pruning.build()
    settings["pruning.method"] = method.name
    settings |= {f"pruning.{name}": value for name, value in dataclasses.asdict(method).items()}
    settings |= {f"answering.{name}": value for name, value in dataclasses.asdict(config.answering).items()}
    return settings
