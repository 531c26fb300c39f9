"""config.json of a cascade: the two models that it is made of, and what is taken for no speech."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from speechprune.models.config_files import read_config
from speechprune.models.hub import ModelError, take_from_cache_only
from speechprune.models.source import ModelSource
from speechprune.models.speech_checks import Checks

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Part:
    """One of the two models: a folder inside the cascade's, or a hub repository at a commit."""

    path: str
    revision: str | None
    subfolder: str
    config: PreTrainedConfig

    def source_in(self, whole: ModelSource) -> ModelSource:
        """Return where its weights and its tokenizer are loaded from."""
        folder = self.path
        if self.subfolder:
            is_here = Path(whole.folder).is_dir()
            folder = str(Path(whole.folder if is_here else self._download()) / self.subfolder)
        options = dataclasses.replace(whole.options, path=folder, revision=self.revision)
        return dataclasses.replace(whole, options=options, config=self.config, folder=folder)

    def _download(self) -> str:
        """Return the folder of the whole repository in the hub's cache."""
        from huggingface_hub import snapshot_download

        cache_only = take_from_cache_only(self.path, self.revision)
        return snapshot_download(self.path, revision=self.revision, local_files_only=cache_only)


class CascadeConfig(PreTrainedConfig):
    """A parsed config.json.

    ::

        {
          "model_type": "cascade",
          "whisper": "whisper",
          "llm": {"repository": "team/name", "revision": "<commit, 40 digits>"},
          "checks": {"no_speech_threshold": 0.6}
        }

    ``whisper`` and ``llm`` are each a folder beside config.json, in Hugging Face's format, or a
    repository of the hub at a commit. ``checks`` may be left out, see ``Checks``.
    """

    model_type = "cascade"

    def __init__(self, whisper: Part, llm: Part, checks: Checks, **kwargs: Any) -> None:
        self.whisper = whisper
        self.llm = llm
        self.checks = checks
        super().__init__(**kwargs)


def parse_cascade(values: dict[str, Any]) -> CascadeConfig:
    """Parse the content of config.json, and read those of the two models.

    Raises
    ------
    ModelError
        In one line: of config.json, or of a model that it names.
    """
    whole = str(values["_name_or_path"]).removesuffix("/config.json")
    checks = values.get("checks", {})
    known = {field.name for field in dataclasses.fields(Checks)}
    if not isinstance(checks, dict) or not set(checks) <= known:
        raise ModelError(f"checks in config.json of {whole} are {checks!r}: give numbers for {sorted(known)}")
    if odd := [name for name, value in checks.items() if not isinstance(value, int | float)]:
        raise ModelError(f"{odd[0]} in config.json of {whole} is {checks[odd[0]]!r}: give a number")
    whisper, llm = (
        _find_part(name, values.get(name), whole, values.get("_commit_hash")) for name in ("whisper", "llm")
    )
    if whisper.config.model_type != "whisper":
        raise ModelError(f"whisper in config.json of {whole} is a {whisper.config.model_type}, no Whisper")
    return CascadeConfig(whisper, llm, Checks(**checks))


def _find_part(name: str, entry: Any, whole: str, commit: str | None) -> Part:
    if isinstance(entry, str) and _is_inside(entry):
        path, revision, subfolder = whole, commit, entry
    elif _is_pinned(entry):
        path, revision, subfolder = entry["repository"], entry["revision"], ""
    else:
        raise ModelError(
            f"{name} in config.json of {whole} is {entry!r}: give a folder beside it, or "
            '{"repository": "team/name", "revision": "<commit of 40 digits>"}'
        )
    values = read_config(path, revision, subfolder)
    if "model_type" not in values:
        raise ModelError(f"{name} in config.json of {whole} is {entry!r}, where no model is: save one there")
    return Part(path, revision, subfolder, AutoConfig.for_model(**values))


def _is_inside(folder: str) -> bool:
    """Whether a path can't lead out of the folder that it is relative to."""
    path = PurePosixPath(folder)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_pinned(entry: Any) -> bool:
    """Whether an entry names a repository at a commit, which the fingerprint then covers."""
    return (
        isinstance(entry, dict)
        and set(entry) == {"repository", "revision"}
        and bool(_REPOSITORY.fullmatch(str(entry["repository"])))
        and bool(_COMMIT.fullmatch(str(entry["revision"])))
    )
