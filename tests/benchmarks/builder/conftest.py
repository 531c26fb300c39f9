"""What tests of the chat writer share."""

import pytest

from tests.helpers.chat_server import KEY


@pytest.fixture
def chat_key(monkeypatch) -> None:
    """The key of ``chat_server`` is set, and no proxy stands before it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
