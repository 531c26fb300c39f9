"""A manifest of a few rows."""

import pytest

from speechprune.data.manifest import Manifest
from tests.helpers.manifest_files import read_file, write_jsonl


@pytest.fixture
def read(tmp_path):
    """``read(rows)``: a JSONL manifest of these rows, read."""

    def read_rows(rows: list[dict], **options) -> Manifest:
        return read_file(write_jsonl(tmp_path / "manifest.jsonl", rows), **options)

    return read_rows
