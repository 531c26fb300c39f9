"""What several test files share: tiny real checkpoints, real speech, the folder of shared recordings."""

import gc
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from loguru import logger

from speechprune import SpeechLM
from speechprune.audio import SAMPLE_RATE, decode_audio
from tests.helpers.tiny_models import DEMO, load_tiny_model, save_tiny_model

pytest_plugins = ["tests.helpers.job_fixtures", "tests.helpers.family_fixtures"]
RAY_FIXTURES = {"ray_address", "two_nodes", "head"}  # of a test whose mark "ray" nobody has to remember
SHARED_AUDIO = Path(__file__).parents[1] / "../shared/audio"

settings.register_profile("speechprune", deadline=None, derandomize=True)
settings.load_profile("speechprune")
gc.disable()  # until all tests are collected


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--corrupt-inputs", type=int, default=300, help="of test_corrupt_audio.py")
    parser.addoption("--timelines", type=int, default=16, help="of test_clock.py")
    parser.addoption("--executor", choices=["local", "ray"], default="local", help="of test_family_jobs.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses Ray, and let one worker of pytest-xdist run it, first; every other file is a group too.

    Two workers with Ray tests would take longer: several Rays at once wait for each other's processes.

    The scheduler reads the group behind the @ of an id. The mark ``xdist_group`` would put it there, but not
    with pytest 9.2, where pytest-xdist 3.8 ignores it without a word (its issue 1386).
    """
    for item in items:
        if not RAY_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.ray)
        if hasattr(config, "workerinput"):  # of a worker
            group = "ray" if item.get_closest_marker("ray") else item.path.relative_to(config.rootpath)
            item._id = type(item.id).parse(f"{item.nodeid}@{group}")
            assert item.nodeid.endswith(f"@{group}")
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


def pytest_collection_finish() -> None:
    """What is imported and collected stays: the garbage collector need not look through it any more."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_ray_without_its_fixture() -> Iterable[None]:
    """A test that starts or joins Ray without ``ray_address`` fails, on whatever machine it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        yield


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", num_key_value_heads=4)


@pytest.fixture(scope="session")
def grouped_query_model_folder(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny_grouped", num_key_value_heads=2)


@pytest.fixture(scope="session")
def tiny_lm(tiny_model_folder) -> SpeechLM:
    return load_tiny_model(tiny_model_folder)


@pytest.fixture(scope="session")
def grouped_query_lm(grouped_query_model_folder) -> SpeechLM:
    return load_tiny_model(grouped_query_model_folder)


@pytest.fixture(scope="session")
def speech() -> Callable[..., np.ndarray]:
    """``speech(seconds, start=0.0)``: int16 at 16 kHz out of the demo archive, looped where it ends."""
    recordings = sorted((DEMO / "archive" / "audio").glob("*.opus"))[:3]
    archive = np.concatenate([decode_audio(recording) for recording in recordings])

    def cut(seconds: float, start: float = 0.0) -> np.ndarray:
        positions = np.arange(round(start * SAMPLE_RATE), round((start + seconds) * SAMPLE_RATE))
        return archive[positions % len(archive)]

    return cut


@pytest.fixture
def log_lines() -> Iterable[list[str]]:
    """Messages that were logged, as information or louder."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real recordings in many formats, where the project is checked out beside it."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("no shared recordings beside this checkout")
    return SHARED_AUDIO
