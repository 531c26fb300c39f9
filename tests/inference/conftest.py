"""Recordings of several lengths, encoded by the tiny model, with questions about them."""

import numpy as np
import pytest

from speechprune.inference.types import Item
from tests.helpers.asked import LENGTHS, ask


@pytest.fixture(scope="module")
def recordings(speech) -> list[np.ndarray]:
    return [speech(seconds, start=50 * i) for i, seconds in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def audios(tiny_lm, recordings):
    return tiny_lm.encode_many(recordings)


@pytest.fixture(scope="module")
def items(audios) -> list[Item]:
    return ask(audios)
