"""One run directory holds the answers of one set of settings: ``run.json`` says which."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from speechprune import storage
from speechprune.config import BatchQAConfig, ConfigError
from speechprune.models.loading import fingerprint
from speechprune.pipeline.run_directory import RunDirectory

# these spread the work and move rounding at most; all other model settings can change an answer
FREE_MODEL_SETTINGS = {
    "path",
    "revision",
    "device",
    "device_map",
    "encoder_batch_size",
    "prefill_batch_tokens",
}


def claim(run: RunDirectory, config: BatchQAConfig) -> None:
    """Write ``run.json``, or check that the run already there was made with the same settings.

    Raises
    ------
    ConfigError
        Answers of other settings are there (the sentence names the first that differs), or the
        place can't be written to.
    """
    settings = answer_settings(config)
    try:
        earlier = run.read_run()
    except ValueError as error:  # no such bucket, no credentials, not JSON
        raise ConfigError(f"output.path can't be used: {error}") from error
    if run.has_answers():
        if earlier is None:
            raise ConfigError(
                f"output.path {run.path} holds answers but no run.json: give another output.path"
            )
        for name, value in settings.items():
            before = earlier["settings"].get(name)
            if before != value:
                raise ConfigError(
                    f"{name} is {value!r}, but the answers in {run.path} were made with {before!r}: "
                    "give another output.path, or the same setting to continue"
                )
        return
    packages = ("speechprune", "ray", "torch", "transformers", "pyarrow")
    record = {
        "settings": settings,
        "config": dataclasses.asdict(config),
        "versions": {name: version(name) for name in packages},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        run.write_run(record)
    except storage.StorageError as error:
        raise ConfigError(f"output.path can't be written to: {error}") from error


def answer_settings(config: BatchQAConfig) -> dict[str, Any]:
    """All that can change an answer, by dotted name: a run directory holds answers of one such set."""
    settings: dict[str, Any] = {"model.path (fingerprint of its content)": fingerprint(config.model)}
    for name, value in dataclasses.asdict(config.model).items():
        if name not in FREE_MODEL_SETTINGS:
            settings[f"model.{name}"] = value
    method = config.pruning.build()
    settings["pruning.method"] = method.name
    settings |= {f"pruning.{name}": value for name, value in dataclasses.asdict(method).items()}
    settings |= {f"answering.{name}": value for name, value in dataclasses.asdict(config.answering).items()}
    return settings
