"""Settings that decide what a directory holds: recorded in its ``run.json``, compared at later launches."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from speechprune import storage
from speechprune.config import ConfigError

if TYPE_CHECKING:
    from speechprune.inference.encoding_options import EncodingOptions
    from speechprune.inference.types import AnsweringOptions
    from speechprune.models.options import ModelOptions
    from speechprune.pruning.options import PruningOptions

# these spread the work and change rounding at most; all other model settings can change an answer
FREE_MODEL_SETTINGS = {
    "path",
    "revision",
    "device",
    "device_map",
    "compile",
    "encoder_batch_size",
    "prefill_batch_tokens",
}
# settings that earlier versions did not have, and the value that says what those did
ALWAYS_BEFORE = {
    "answering.scoring": "letters",
    "answering.texts_prompt": "{question}",
    "answering.calibrate": False,
    "encoding.skip_silence": False,
    "encoding.cut": "fixed",
    "pruning.similarity": "mean",
    "pruning.standardise": False,
    "pruning.frame_seconds": 1,
    "speech.pause_seconds": 0.0,
}
PACKAGES = ("speechprune", "ray", "torch", "transformers", "pyarrow")


class AnsweringConfig(Protocol):
    """The sections of a job's config that decide its answers."""

    @property
    def model(self) -> ModelOptions:
        """The model."""

    @property
    def encoding(self) -> EncodingOptions:
        """How recordings are cut into windows."""

    @property
    def pruning(self) -> PruningOptions:
        """How audio tokens are pruned."""

    @property
    def answering(self) -> AnsweringOptions:
        """How questions are put."""


def answer_settings(config: AnsweringConfig, states: str | None) -> dict[str, Any]:
    """All settings that can change an answer, by dotted name.

    ``states``: how the index that recordings are taken from stores them; None without an index.
    """
    # imports torch, which workers that write do without
    from speechprune.models.fingerprint import fingerprint

    settings: dict[str, Any] = {"model.path (fingerprint of its content)": fingerprint(config.model)}
    settings |= model_settings(config.model) | config.encoding.settings
    method = config.pruning.build()
    settings["pruning.method"] = method.name
    settings |= {f"pruning.{name}": value for name, value in dataclasses.asdict(method).items()}
    settings |= {f"answering.{name}": value for name, value in dataclasses.asdict(config.answering).items()}
    settings["index.states of input.index"] = states
    return settings


def model_settings(model: ModelOptions) -> dict[str, Any]:
    """The settings of a model that can change an answer, but for its weights."""
    return {
        f"model.{name}": value
        for name, value in dataclasses.asdict(model).items()
        if name not in FREE_MODEL_SETTINGS
    }


@contextlib.contextmanager
def output_path_errors(place: str) -> Iterator[None]:
    """Name the setting whose location can't be used: no such bucket, no credentials, a file in the way."""
    try:
        yield
    except storage.StorageError as error:
        raise ConfigError(f"{place} can't be used: {error}") from error


def check_settings(
    path: str,
    settings: dict[str, Any],
    config: Any,
    *,
    holds: str | None,
    place: str,
    may_be_new: Collection[str] = (),
    packages: Sequence[str] = PACKAGES,
) -> None:
    """Write ``run.json``, or check that what the directory holds was made with the same settings.

    Parameters
    ----------
    settings
        All that can change what the job writes, by dotted name.
    holds
        What is in the directory, such as "answers"; None where nothing is.
    place
        Setting that leads to the directory.
    may_be_new
        Settings that an earlier record need not have: they are added to it.

    Raises
    ------
    ConfigError
        The directory holds work of other settings (the sentence names the first that differs), or can't be
        read or written.
    """
    settings = _as_read_back(settings)
    # for people: nothing is compared with it, and a signed address is a secret
    shown = json.loads(json.dumps(dataclasses.asdict(config)), object_hook=_without_secrets)
    record = {
        "settings": settings,
        "config": shown,
        "versions": {name: version(name) for name in packages},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    uri = storage.join(path, "run.json")
    with output_path_errors(place):
        earlier = _earlier_run(path, holds, place)
        if earlier is None:
            try:
                storage.create_bytes(uri, json.dumps(_sealed(record), indent=2).encode())
                return
            except FileExistsError:  # another launch was faster: its settings count
                earlier, holds = _read_run(uri) or {"settings": {}}, "answers of another launch"
        elif not holds:
            # nothing was made with those settings: a first try may be corrected
            storage.write_json(uri, _sealed(record))
            return
        if changed := _compare(settings, earlier, may_be_new, f"the {holds} in {path}", place):
            storage.write_json(uri, _sealed(changed))


def compare_settings(
    path: str,
    settings: dict[str, Any],
    *,
    holds: str | None,
    place: str,
    may_be_new: Collection[str] = (),
) -> None:
    """Raise what ``check_settings`` would raise, and write nothing."""
    with output_path_errors(place):
        earlier = _earlier_run(path, holds, place)
    if earlier is not None and holds:
        _compare(_as_read_back(settings), earlier, may_be_new, f"the {holds} in {path}", place)


def _earlier_run(path: str, holds: str | None, place: str) -> dict[str, Any] | None:
    earlier = _read_run(storage.join(path, "run.json"))
    if earlier is None and holds:
        raise ConfigError(f"{place} {path} holds {holds} but no run.json: give another {place}")
    return earlier


def _as_read_back(settings: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(settings))  # a tuple is a list
    return read


def _without_secrets(section: dict[str, Any]) -> dict[str, Any]:
    return {name: storage.shortened(v) if isinstance(v, str) else v for name, v in section.items()}


def _compare(
    settings: dict[str, Any], earlier: dict[str, Any], may_be_new: Collection[str], held: str, place: str
) -> dict[str, Any] | None:
    """Refuse other settings; return the record with what is new in it, if anything is."""
    before_all = earlier["settings"]
    new = {name: settings[name] for name in may_be_new if name not in before_all}
    for name, value in settings.items():
        before = (ALWAYS_BEFORE | before_all | new).get(name)
        if before != value:
            raise ConfigError(
                f"{name} is {value!r}, but {held} were made with {before!r}: "
                f"give another {place}, or the same setting to continue"
            )
    return earlier | {"settings": before_all | new} if new else None


def _read_run(uri: str) -> dict[str, Any] | None:
    """``run.json``, or None before the first launch."""
    try:
        record = storage.read_json(uri)
    except FileNotFoundError:
        return None
    is_whole = "sha256" not in record or _sealed(record) == record  # earlier versions wrote none
    if not is_whole or not isinstance(record.get("settings"), dict):
        raise storage.StorageError(
            f"{uri} is damaged (it is not what was written): restore it from a copy, or give another folder"
        )
    return record


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the checksum of all else in it."""
    content = {name: value for name, value in record.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return content | {"sha256": digest}
