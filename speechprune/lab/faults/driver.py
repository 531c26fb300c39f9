"""The driver's CPU time and peak memory for manifests of a size, everything answered or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from speechprune.config import load_config
from speechprune.data.answer_rows import answers_table
from speechprune.data.columns import ITEM_COLUMNS
from speechprune.lab.faults.cluster import JOB
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings

CONFIG = "package://configs/demo.yaml"  # the job's default
QUESTIONS_PER_RECORDING = 5
ITEMS_AT_A_TIME = 10_000  # in memory
CHOICES = ["on Monday", "on Thursday", "next week", "it was not decided"]
TIMELINE = [{"start": float(s), "end": s + 1.0, "kept": s % 4 / 4, "score": s % 7 / 7} for s in range(60)]
MADE = {
    "prediction": "B",
    "correct": True,
    "timeline": TIMELINE,
    "audio_seconds": 60.0,
    "num_audio_tokens": 1500,
    "num_kept_tokens": 150,
    "num_text_tokens": 107,
    "tflops_prefill": 3.66,
    "tflops_total": 5.2,
    "weights_bytes": 12_950_000_000,
    "kv_cache_bytes": 370_000_000,
    "peak_memory_bytes": 5_000_000_000,
    "seconds_encode": 0.125,
}


@dataclass(frozen=True)
class DriverUse:
    """What one process of the main job used that answers nothing.

    Parameters
    ----------
    launch
        ``plan``: of items none of which is answered, by ``--dry-run``; ``relaunch``: of items that are all
        answered: manifest, resume and summary; ``second relaunch``: of the same again.
    items, files
        Items of the manifest, and answers files in the run directory.
    cpu_seconds
        User and system time.
    peak_bytes
        Largest resident memory.
    """

    launch: str
    items: int
    files: int
    cpu_seconds: float
    peak_bytes: int


def driver_use(folder: Path, num_items: int, items_per_file: int, model: str) -> list[DriverUse]:
    """Measure plans of new manifests, and relaunches when everything is answered, of one item and of many.

    The first relaunch joins answers files if they are small; the second finds what it left.
    """
    uses = []
    for number in (1, num_items):
        manifest, run = folder / f"{number}.jsonl", folder / f"run-{number}"
        write_manifest(manifest, number)
        for launch in ("plan", "relaunch", "second relaunch"):
            if launch == "relaunch":
                fill_run(run, manifest, number, items_per_file, model)
            num_files = len(list(run.glob("answers/*/*.parquet")))
            arguments = [f"input.manifest={manifest}", f"output.path={run}", model, "ray.executor=local"]
            arguments += ["--dry-run"] if launch == "plan" else []
            process = subprocess.Popen([sys.executable, str(JOB), *arguments], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise RuntimeError(f"the job of the {launch} exits {os.waitstatus_to_exitcode(status)}")
            seconds, peak_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
            uses.append(DriverUse(launch, number, num_files, seconds, peak_bytes))
    return uses


def _items(start: int, end: int) -> dict[str, list[object]]:
    numbers = range(start, end)
    return {
        "item_id": [f"item-{n:09}" for n in numbers],
        "audio": [f"/archive/2026/meeting-{n // QUESTIONS_PER_RECORDING:08}.opus" for n in numbers],
        "question": [
            f"When will the group look at proposal {n % 1000} for the new office again?" for n in numbers
        ],
        "choices": [CHOICES for _ in numbers],
        "answer": ["B" for _ in numbers],
    }


def write_manifest(path: Path, num_items: int) -> None:
    """Write a manifest of JSON lines whose recordings exist nowhere."""
    with open(path, "w") as file:
        for start in range(0, num_items, ITEMS_AT_A_TIME):
            columns = _items(start, min(num_items, start + ITEMS_AT_A_TIME))
            for row in zip(*columns.values(), strict=True):
                file.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")


def fill_run(run: Path, manifest: Path, num_items: int, items_per_file: int, model: str) -> None:
    """Write a run directory with an answer to every item."""
    overrides = [f"input.manifest={manifest}", model, f"output.path={run}"]
    config = load_config(BatchQAConfig, CONFIG, overrides)
    store = RunStore(str(run))
    made_at = {"finished_at": datetime.now(UTC)}
    items = pa.Table.from_pylist([{}] * items_per_file, schema=pa.schema(ITEM_COLUMNS))
    made = answers_table([MADE | made_at] * items_per_file, items)
    with store.launch(answer_settings(config, None), config):
        for start in range(0, num_items, items_per_file):
            end = min(num_items, start + items_per_file)
            rows = made.slice(0, end - start)
            for name, column in _items(start, end).items():
                place = rows.column_names.index(name)
                rows = rows.set_column(place, rows.field(name), pa.array(column, rows.field(name).type))
            store.write_answers("ok", rows)
