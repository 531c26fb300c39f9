"""Fixtures of the tests that run on every model family."""

import pytest

from tests.helpers.families import KITS, Kit

# their decoders take unlike inputs or have unlike layers: for tests of what is the same for all families, of
# which the conformance suite checks the outcome in each
UNLIKE_DECODERS = ["gemma4", "qwen2_audio", "qwen3_omni_moe", "toy"]


@pytest.fixture(scope="module", params=list(KITS))
def kit_name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def kit(kit_name) -> Kit:
    return KITS[kit_name]


@pytest.fixture(scope="module")
def folder(kit, tmp_path_factory) -> str:
    """A tiny checkpoint of the family."""
    return kit.save(tmp_path_factory.mktemp("family"))
