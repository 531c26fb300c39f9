"""What tests of the builder share."""

from pathlib import Path

import pytest

from tests.helpers.benchmarks import launch_build, write_config
from tests.helpers.chat_server import KEY


@pytest.fixture
def chat_key(monkeypatch) -> None:
    """The key of ``chat_server`` is set, and no proxy stands before it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A benchmark that nothing disturbed."""
    folder = tmp_path_factory.mktemp("built")
    result = launch_build(write_config(folder))
    assert result.code == 0, result.lines
    return folder / "benchmark"
