"""What is in a run directory, and what is written to it."""

import datetime
import json
from collections import Counter

import pyarrow as pa
from fsspec.core import url_to_fs

from speechprune import storage
from speechprune.config import parse_config
from speechprune.data.answer_rows import answers_table
from speechprune.data.columns import ITEM_COLUMNS
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def config_with(model: str, **sections) -> BatchQAConfig:
    least = {"input": {"manifest": "m.jsonl"}, "model": {"path": model}, "output": {"path": "unused"}}
    return parse_config(BatchQAConfig, least | sections)


def answers(*item_ids: str, prediction: str = "A") -> pa.Table:
    fields = {"item_id": list(item_ids), "audio": "a.wav", "question": "Who?"}
    items = pa.table(
        {
            field.name: pa.array(
                fields["item_id"] if field.name == "item_id" else [fields.get(field.name)] * len(item_ids),
                field.type,
            )
            for field in ITEM_COLUMNS
        }
    )
    return answers_table([{"prediction": prediction, "finished_at": NOW}] * len(item_ids), items)


def items(*item_ids: str) -> pa.Table:
    return answers(*item_ids).select([field.name for field in ITEM_COLUMNS])


def ids(run: RunStore, status: str) -> Counter[str]:
    return Counter(run.read_answers(status, ["item_id"]).column("item_id").to_pylist())


def answers_files(run: RunStore, status: str) -> list[str]:
    return storage.files_in(storage.join(run.path, "answers", f"status={status}"), ".parquet")


def overwrite(file: str, data: bytes) -> None:
    fs, path = url_to_fs(file)
    fs.pipe_file(path, data)


def claim(run, config):
    with run.launch(answer_settings(config, states=None), config):
        pass


def record_of(run: RunStore) -> dict:
    return json.loads(storage.read_text(storage.join(run.path, "run.json")))
