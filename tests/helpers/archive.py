"""An archive as tests of the nightly job handle it: its folder, its index, their rows."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from speechprune import storage

NIGHT = Path(__file__).parents[2] / "jobs/index_archive.py"
# measured, or of the moment: all else is the same in any run
FREE_COLUMNS = ("seconds_decode_audio", "seconds_encode", "tflops_encode", "node", "indexed_at")


@dataclass(frozen=True)
class Archive:
    """A folder with recordings, the config of the nightly job, and its index."""

    folder: Path
    model: str

    @property
    def sounds(self) -> Path:
        return self.folder / "sounds"

    @property
    def config(self) -> str:
        return str(self.folder / "index.yaml")

    @property
    def index(self) -> str:
        return str(self.folder / "index")

    def configure(self, path: str, index: str, **sections: dict) -> None:
        values = {
            "archive": {"path": path},
            "model": {"path": self.model, "dtype": "float32", "device": "cpu"},
            "index": {"path": index, "shard_minutes": 0.5},
            "answering": {"max_new_tokens": 3},
            "ray": {"executor": "local"},
        }
        for section, settings in sections.items():
            values[section] = values.get(section, {}) | settings
        Path(self.config).write_text(yaml.safe_dump(values))

    def summary(self, index: str) -> dict:
        [folder] = storage.folders_in(index)
        return json.loads(storage.read_text(f"{folder}/summary.json"))


def rows_of(index: str) -> list[dict]:
    """All rows of an index with one model, in order, without what is measured."""
    [folder] = storage.folders_in(index)
    rows = []
    for file in storage.files_in(f"{folder}/windows", ".parquet"):
        with storage.open_binary(file, block_bytes=1 << 20) as handle:
            rows += pq.read_table(handle).drop_columns(list(FREE_COLUMNS)).to_pylist()
    return sorted(rows, key=lambda row: (row["recording"], row["window"]))


def window_files(index: str) -> list[str]:
    return [
        file
        for folder in storage.folders_in(index)
        for file in storage.files_in(f"{folder}/windows", ".parquet")
    ]
