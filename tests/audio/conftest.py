"""Twelve seconds of speech in every format."""

import pytest

from tests.helpers.audio_files import ENCODERS, encode


@pytest.fixture(scope="module")
def encoded(speech) -> dict[str, bytes]:
    return {name: encode(speech(12), name) for name in ENCODERS}
