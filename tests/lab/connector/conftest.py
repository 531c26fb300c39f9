"""The two tiny models that a connector lies between."""

import pytest
from transformers import AutoFeatureExtractor, AutoTokenizer

from tests.helpers.tiny_cascade import save_tiny_cascade


@pytest.fixture(scope="session")
def tiny_parts_folder(tmp_path_factory) -> str:
    return save_tiny_cascade(tmp_path_factory.mktemp("parts") / "cascade")


@pytest.fixture(scope="session")
def tiny_cascade_parts(tiny_parts_folder):
    extractor = AutoFeatureExtractor.from_pretrained(f"{tiny_parts_folder}/whisper")
    return extractor, AutoTokenizer.from_pretrained(f"{tiny_parts_folder}/llm")
