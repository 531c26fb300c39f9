"""The parts of a model that is made of several: a folder beside config.json each, or a hub repository."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from speechprune.models.config_files import is_shipped, read_config
from speechprune.models.hub import ModelError, take_from_cache_only
from speechprune.models.source import ModelSource

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Part:
    """A model inside another: a folder beside its config.json, or a hub repository at a commit."""

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


def find_part(name: str, values: dict[str, Any]) -> Part:
    """Find a part by its entry in config.json, and read its own config.json.

    - ``name``: of the entry: a folder beside config.json, or ``{"repository": ..., "revision": ...}``.
    - ``values``: the content of config.json.

    Raises
    ------
    ModelError
        In one line: of the entry, or of the model that it names.
    """
    whole, commit = whole_of(values), values.get("_commit_hash")
    entry: Any = values.get(name)
    if is_shipped(whole):  # sizes alone
        return Part(whole, None, "", AutoConfig.for_model(**entry))
    if isinstance(entry, str) and _is_inside(entry):
        path, revision, subfolder = whole, commit, entry
    elif _is_pinned(entry):
        path, revision, subfolder = entry["repository"], entry["revision"], ""
    else:
        raise ModelError(
            f"{name} in config.json of {whole} is {entry!r}: give a folder beside it, or "
            '{"repository": "team/name", "revision": "<commit of 40 digits>"}'
        )
    own = read_config(path, revision, subfolder)
    if "model_type" not in own:
        raise ModelError(f"{name} in config.json of {whole} is {entry!r}, where no model is: save one there")
    return Part(path, revision, subfolder, AutoConfig.for_model(**own))


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


def whole_of(values: dict[str, Any]) -> str:
    """The folder, hub id or shipped name that the content of a config.json comes from."""
    return str(values["_name_or_path"]).removesuffix("/config.json")
