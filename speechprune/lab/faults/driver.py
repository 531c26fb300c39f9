"""The driver's CPU time and peak memory for manifests of a size, everything answered or nothing."""

from __future__ import annotations

import itertools
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
ITEMS_PER_FILE = 4 * QUESTIONS_PER_RECORDING
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
    """What one process of the main job took that answers nothing.

    Parameters
    ----------
    launch
        ``plan``: of items none of which is answered, by ``--dry-run``; ``relaunch``: of items that are all
        answered: manifest, resume and summary.
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


def driver_use(folder: Path, num_items: int, model: str) -> list[DriverUse]:
    """Measure plans of new manifests and relaunches when everything is answered, of one item and of many."""
    uses = []
    for launch, number in itertools.product(("plan", "relaunch"), (1, num_items)):
        manifest, run = folder / f"{number}.jsonl", folder / f"{launch}-{number}"
        write_manifest(manifest, number)
        num_files = fill_run(run, manifest, number, model) if launch == "relaunch" else 0
        arguments = [f"input.manifest={manifest}", f"output.path={run}", model, "ray.executor=local"]
        arguments += [] if launch == "relaunch" else ["--dry-run"]
        process = subprocess.Popen([sys.executable, str(JOB), *arguments], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"the job of the {launch} exits {os.waitstatus_to_exitcode(status)}")
        seconds, peak_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        uses.append(DriverUse(launch, number, num_files, seconds, peak_bytes))
    return uses


def _items(start: int, end: int) -> list[dict[str, object]]:
    return [
        {
            "item_id": f"item-{n:09}",
            "audio": f"/archive/2026/meeting-{n // QUESTIONS_PER_RECORDING:08}.opus",
            "question": f"When will the group look at proposal {n % 1000} for the new office again?",
            "choices": CHOICES,
            "answer": "B",
        }
        for n in range(start, end)
    ]


def write_manifest(path: Path, num_items: int) -> None:
    """Write a manifest of JSON lines whose recordings exist nowhere."""
    with open(path, "w") as file:
        for start in range(0, num_items, ITEMS_PER_FILE):
            items = _items(start, min(num_items, start + ITEMS_PER_FILE))
            file.writelines(json.dumps(item) + "\n" for item in items)


def fill_run(run: Path, manifest: Path, num_items: int, model: str) -> int:
    """Write a run directory with an answer to every item; return its number of files."""
    overrides = [f"input.manifest={manifest}", model, f"output.path={run}"]
    config = load_config(BatchQAConfig, CONFIG, overrides)
    store = RunStore(str(run))
    with store.launch(answer_settings(config, None), config):
        starts = range(0, num_items, ITEMS_PER_FILE)
        made = MADE | {"finished_at": datetime.now(UTC)}
        for start in starts:
            rows = _items(start, min(num_items, start + ITEMS_PER_FILE))
            items = pa.Table.from_pylist(rows, schema=pa.schema(ITEM_COLUMNS))
            store.write_answers("ok", answers_table([made] * len(items), items))
    return len(starts)
