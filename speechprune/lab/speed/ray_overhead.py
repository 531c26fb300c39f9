"""Overhead of the job on Ray over the same work called directly, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speechprune.lab.faults.cluster import JOB

# the job's work without Ray: the same decode, encode and answer, the same number of recordings at a time
DIRECT = """
import json, sys
from speechprune import SpeechLM
from speechprune.inference.answer import answer_items
from speechprune.audio import decode_audio
from speechprune.pruning import SpeechPrune
from speechprune.inference.types import AnsweringOptions, Item

manifest, model, recordings_per_block = sys.argv[1], sys.argv[2], int(sys.argv[3])
folder = manifest.rsplit("/", 1)[0]
lm = SpeechLM.from_pretrained(model, random_weights=True)
recordings = {}
for line in open(manifest):
    row = json.loads(line)
    recordings.setdefault(row["audio"], []).append(row)
names = list(recordings)
for i in range(0, len(names), recordings_per_block):
    block = names[i : i + recordings_per_block]
    encoded = lm.encode_many([decode_audio(f"{folder}/{name}") for name in block])
    items = [
        Item(item_id=row["question"], audio=audio, question=row["question"], choices=tuple(row["choices"]))
        for name, audio in zip(block, encoded)
        for row in recordings[name]
    ]
    outcomes = answer_items(lm.model, items, SpeechPrune(), AnsweringOptions())
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
"""


def ray_overhead(manifest: Path, model: Path, output: Path, recordings_per_block: int = 4) -> dict[str, Any]:
    """Measure the wall seconds of both, including model loading and Ray's own start."""
    direct = [sys.executable, "-c", DIRECT, str(manifest), str(model), str(recordings_per_block)]
    job = [
        sys.executable,
        str(JOB),
        f"input.manifest={manifest}",
        f"model.path={model}",
        "model.random_weights=true",
        f"output.path={output}",
        f"ray.recordings_per_block={recordings_per_block}",
    ]
    seconds_direct, seconds_ray = _wall_seconds(direct), _wall_seconds(job)
    launch = json.loads((output / "summary.json").read_text())["this_launch"]
    return {
        "items": launch["num_items"],
        "seconds_direct": seconds_direct,
        "seconds_ray": seconds_ray,
        "overhead": seconds_ray / seconds_direct - 1,
    }


def _wall_seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
