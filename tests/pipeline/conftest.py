"""Fixtures of tests of a run directory."""

import pytest

from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.run_store import RunStore
from tests.helpers.run_directory import config_with


@pytest.fixture(params=["local", "s3"])
def run(request, tmp_path) -> RunStore:
    if request.param == "local":
        return RunStore(str(tmp_path / "run [of] *"))
    return RunStore(f"s3://{request.getfixturevalue('bucket')}/{request.node.name}")


@pytest.fixture
def config(tiny_model_folder) -> BatchQAConfig:
    return config_with(tiny_model_folder)
