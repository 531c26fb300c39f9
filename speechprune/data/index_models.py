"""Folders of an index: one per model."""

from __future__ import annotations

import re

from speechprune import storage
from speechprune.data.index_columns import INDEX_FORMAT
from speechprune.data.index_files import WindowsDirectory
from speechprune.inference.encoding_options import EncodingOptions
from speechprune.models.fingerprint import fingerprint
from speechprune.models.options import ModelOptions

_REVISION = re.compile(r"[^-]+(?:-speech)?(?:-pause)?$")  # at the end of a folder's name


class NotIndexed(ValueError):
    """An index without windows of this model; the message lists its models."""


def index_dir(index: str, model: ModelOptions, encoding: EncodingOptions) -> str:
    """Return the address of a model's folder in an index, whether it exists or not.

    Its name has the model's path for the reader, and for the lookup the model's fingerprint and how windows
    are cut: a copy of the model at another path has the same folder, other windows have another one.
    """
    revision = fingerprint(model) + encoding.suffix
    for folder in storage.folders_in(index):
        if folder.endswith(f"-{revision}"):
            return folder
    words = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(model.path.rstrip("/").split("/")[-2:]))
    return storage.join(storage.output_folder(index), f"{words.strip('-.')}-{revision}")


def open_index(index: str, model: ModelOptions, encoding: EncodingOptions) -> WindowsDirectory:
    """Open the windows of a model in an index, cut as ``encoding`` says.

    Raises
    ------
    NotIndexed
        There are none that this model and this version of the program can read.
    """
    folder = index_dir(index, model, encoding)
    directory = WindowsDirectory(folder)
    if not directory.files():
        others = [_model_in(other) for other in storage.folders_in(index) if other != folder]
        if not others:
            raise NotIndexed(f"index {index} is empty or does not exist: jobs/index_archive.py makes it")
        raise NotIndexed(
            f"index {index} holds windows of {' and '.join(others)}, not of {model.path} as it is now "
            f"({fingerprint(model)}{encoding.suffix}): index the archive with this model and encoding, "
            "or ask with those that made it"
        )
    if directory.settings().get("index format") != INDEX_FORMAT:
        raise NotIndexed(
            f"index {index} was made by another version of this program: index the archive again, at another "
            "index.path"
        )
    return directory


def _model_in(folder: str) -> str:
    try:
        record = storage.read_json(storage.join(folder, "run.json"))
        return f"{record['config']['model']['path']} ({_REVISION.findall(folder)[0]})"
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return folder.rsplit("/", 1)[-1]
