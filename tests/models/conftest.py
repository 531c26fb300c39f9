"""The tiny model in other places; and a page of how far each family is from its own implementation."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from tests.helpers.equalities_page import Equalities, equalities_page


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--models-page", type=Path, help="Markdown page to write the measured equalities into")


@pytest.fixture(scope="session")
def equalities(request) -> Iterator[Equalities]:
    """The largest difference of each kind, by family."""
    largest: Equalities = defaultdict(dict)
    yield largest
    if page := request.config.getoption("--models-page", None):
        page.write_text(equalities_page(page.read_text(), largest))


@pytest.fixture
def note(equalities, kit_name) -> Callable[[str, float], float]:
    """Notes a difference of the family under test and returns it."""

    def keep(what: str, difference: float) -> float:
        own = equalities[kit_name]
        own[what] = max(own.get(what, 0.0), difference)
        return difference

    return keep


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
