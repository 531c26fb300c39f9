"""Manifests in every format, written and read."""

import csv
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from speechprune.data.manifest import Manifest, read_manifest
from speechprune.data.sources import InputOptions

ITEMS = [
    {
        "item_id": "a",
        "audio": "sound/one.wav",
        "question": "Wann? “Dienstag”, say",
        "choices": ["Monday", "Tuesday", "Friday"],
        "answer": "Tuesday",
        "start": 1.5,
        "end": 20.0,
        "speaker": "Anna",
    },
    {
        "item_id": "b",
        "audio": "sound/one.wav",
        "question": "Who, then?",
        "choices": ["1", "2"],
        "answer": "B",
        "start": None,
        "end": None,
        "speaker": None,
    },
    {
        "item_id": "c",
        "audio": "s3://bucket/two.opus",
        "question": "What\nis said?",
        "choices": None,
        "answer": "something",
        "start": None,
        "end": None,
        "speaker": "Bert, C.",
    },
]
ONE = {"audio": "a.wav", "question": "Who speaks?"}


def read_file(path, **options) -> Manifest:
    return read_manifest(InputOptions(manifest=str(path), **options), str(Path(path).parent / "run/audio"))


def write_jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return path


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_parquet_folder(path, rows):
    path.mkdir()
    write_parquet(path / "0.parquet", rows[:1])
    write_parquet(path / "1.parquet", rows[1:])
    return path


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        for row in rows:
            choices = row["choices"] and json.dumps(row["choices"])
            writer.writerow(row | {"choices": choices})
    return path


def write_csv_with_bars(path, rows):
    return write_csv(path, rows) and path.write_text(
        path.read_text()
        .replace('"[""Monday"", ""Tuesday"", ""Friday""]"', "Monday | Tuesday|Friday")
        .replace('"[""1"", ""2""]"', "1|2")
    )


def write_dataset(path, rows):
    datasets.Dataset.from_list(rows).save_to_disk(path)
    return path


def write_dataset_with_splits(path, rows):
    dataset = datasets.Dataset.from_list(rows)
    datasets.DatasetDict({"train": dataset.select([0]), "test": dataset}).save_to_disk(path)
    return path
