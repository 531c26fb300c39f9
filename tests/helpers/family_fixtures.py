"""Fixtures of the tests that run on every model family."""

import pytest

from tests.helpers.families import KITS, Kit


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
