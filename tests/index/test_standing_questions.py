"""Standing questions resume by the same protocol as every job that answers."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from speechprune.config import ConfigError, parse_config
from speechprune.data.answer_rows import answers_table
from speechprune.index import standing_questions
from speechprune.index.config import IndexConfig
from speechprune.index.standing_questions import StandingQuestion, as_items, ask_standing_questions
from speechprune.models.loading import check_model
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings

QUESTIONS = [StandingQuestion("day", "Which day?", ("Monday", "Friday"))]
RECORDINGS = {"a.wav": "1", "b.wav": "1"}


def test_answers_of_today_stay_as_they_are_where_settings_are_others(
    tmp_path, tiny_model_folder, monkeypatch
):
    """A file that a killed run left twice is recovered by the settings that made it alone."""
    monkeypatch.setattr(standing_questions, "make_executor", lambda *_: pytest.fail("an executor was made"))

    def config_with(pruning_rate: float) -> IndexConfig:
        values = {
            "archive": {"path": "unused"},
            "index": {"path": "unused"},
            "model": {"path": tiny_model_folder},
            "questions": {"path": "unused", "output": str(tmp_path)},
            "pruning": {"pruning_rate": pruning_rate},
        }
        return parse_config(IndexConfig, values)

    today = tmp_path / f"date={datetime.now(UTC).date().isoformat()}"
    store = RunStore(str(today))
    config = config_with(0.2)
    with store.launch(answer_settings(config, "float16"), config):
        items = as_items(QUESTIONS, RECORDINGS).items
        for rows in (items.slice(0, 1), pa.concat_tables([items.slice(0, 1)] * 2)):
            answers = answers_table([{"prediction": "A"}] * len(rows), rows)
            store.write_answers("ok", answers)
    before = contents(today)
    other = config_with(0.4)
    with pytest.raises(ConfigError, match=r"pruning.pruning_rate is 0.4, .* give another questions.output"):
        ask_standing_questions(other, check_model(other.model), QUESTIONS, RECORDINGS, {})
    assert contents(today) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
