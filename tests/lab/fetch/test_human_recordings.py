"""The questions about people speaking: readable, of one kind, and without a letter that wins."""

import json
from collections import Counter
from pathlib import Path

import pytest

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.config import ConfigError, load_config
from speechprune.pipeline.config import BatchQAConfig

CONFIGS = Path(__file__).parents[3] / "configs"
ROWS = [json.loads(line) for line in (CONFIGS / "human_recordings.jsonl").read_text().splitlines()]


def test_four_choices_each_and_letters_that_are_even():
    assert len({row["item_id"] for row in ROWS}) == len(ROWS) >= 40
    assert all(len(set(row["choices"])) == 4 for row in ROWS)
    letters = Counter(row["answer"] for row in ROWS)
    assert letters.keys() == set("ABCD")
    assert max(letters.values()) - min(letters.values()) <= 1


def test_the_config_asks_for_the_fetched_model(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHPRUNE_MODELS", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"^fetched://whisper-base-smollm2-135m .*: python jobs/fetch_models.py "
    ):
        load_config(BatchQAConfig, str(CONFIGS / "human_recordings.yaml"))
    (tmp_path / "whisper-base-smollm2-135m").mkdir()
    config = load_config(BatchQAConfig, str(CONFIGS / "human_recordings.yaml"))
    assert config.model.path == str(tmp_path / "whisper-base-smollm2-135m")
    assert Path(config.input.manifest).name == "human_recordings.jsonl"


@pytest.mark.parametrize("audio", sorted({row["audio"] for row in ROWS}))
def test_the_evidence_lies_in_the_recording(shared_audio, audio):
    seconds = len(decode_audio(str(CONFIGS / audio))) / SAMPLE_RATE
    for row in ROWS:
        if row["audio"] == audio:
            assert 0 <= row["evidence_start"] < row["evidence_end"] <= seconds
