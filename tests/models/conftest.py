"""The tiny model in other places."""

import shutil
from pathlib import Path

import fsspec
import pytest


@pytest.fixture
def model_copy(tiny_model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "copy"))


@pytest.fixture
def remote_model(tiny_model_folder, tmp_path, monkeypatch) -> str:
    """The tiny model in an object store, as far as fsspec's memory is one; and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.put(tiny_model_folder + "/", "/models/tiny/", recursive=True)
    yield "memory://models/tiny"
    store.rm("/models", recursive=True)
