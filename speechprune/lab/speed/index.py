"""Time saved by an index, and time of a long recording on two nodes: whole jobs, start to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from loguru import logger

from speechprune import storage
from speechprune.audio import SAMPLE_RATE
from speechprune.lab.faults.cluster import JOB, LocalCluster
from speechprune.lab.speed.long_recordings import peak_memory, write_flac
from speechprune.lab.speed.measurements import loop_speech, questions

INDEX_JOB = JOB.with_name("index_archive.py")
NODE = {"cpus_per_worker": 2, "object_store_bytes": 1_000_000_000}
ROLL_SECONDS = 7  # recordings are the same speech, each shifted by this against the one before


def questions_in_turn(
    speech: Sequence[Path],
    model: Path,
    folder: Path,
    *,
    num_recordings: int,
    seconds: float,
    num_runs: int,
    num_without: int,
) -> dict[str, Any]:
    """Time runs with one question about each recording, from an index and without.

    Every run is a job of its own, from the start of Python to its end, on a Ray that is there already.

    Parameters
    ----------
    speech
        Real speech, repeated to each length.
    model
        A model folder without weights.
    folder
        Folder for recordings, index and runs.
    num_recordings, seconds
        Size of the archive.
    num_runs
        Number of runs; each asks another question.
    num_without
        Number of runs that are also made without the index; their time is scaled up to all runs.

    Returns
    -------
    dict
        Seconds of all runs start to end (those from the index include making it), and the ratio that the
        FLOPs account predicts from the same runs' ``tflops_total``.
    """
    archive = folder / "archive"
    archive.mkdir()
    samples = loop_speech(speech, seconds)
    for i in range(num_recordings):
        write_flac(archive / f"recording-{i:03}.flac", np.roll(samples, -i * SAMPLE_RATE * ROLL_SECONDS))
    index = folder / "index"
    seconds_from_index = seconds_without = 0.0
    tflops_without = 0.0
    with closing(LocalCluster(1, **NODE)) as cluster:
        address = cluster.address
        seconds_index = _run(INDEX_JOB, address, _index_config(folder, archive, model, index))
        tflops_from_index = _index_summary(index)["tflops_encode"]
        for number, (question, choices) in enumerate(questions(num_runs)):
            manifest = folder / f"questions-{number}.jsonl"
            rows = [
                {"audio": str(path), "question": question, "choices": choices}
                for path in sorted(archive.glob("*.flac"))
            ]
            manifest.write_text("\n".join(map(json.dumps, rows)))
            settings = [f"input.manifest={manifest}", f"model.path={model}", "model.random_weights=true"]
            took, tflops = _ask(
                folder / f"run-{number}-from-index", address, *settings, f"input.index={index}"
            )
            seconds_from_index += took
            tflops_from_index += tflops
            if number < num_without:
                took, tflops = _ask(folder / f"run-{number}-without", address, *settings)
                seconds_without += took * num_runs / num_without
                tflops_without += tflops * num_runs / num_without
            logger.info(
                "{:,} of {:,} runs: {:.0f} s from the index, {:.0f} s to make it",
                number + 1,
                num_runs,
                seconds_from_index,
                seconds_index,
            )
    gain = seconds_without / (seconds_index + seconds_from_index)
    predicted = tflops_without / tflops_from_index
    return {
        "recordings": num_recordings,
        "audio_seconds": seconds,
        "runs": num_runs,
        "runs_without": num_without,
        "seconds_index": seconds_index,
        "seconds_from_index": seconds_from_index,
        "seconds_without": seconds_without,
        "gain": gain,
        "gain_predicted_by_flops": predicted,
        "share_of_prediction": gain / predicted,
    }


def on_two_nodes(speech: Sequence[Path], model: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Index one long recording on a cluster of two nodes of this machine.

    Returns
    -------
    dict
        Windows by node, seconds start to end, and the largest private memory (USS) of any process, beside
        which samples lie in Ray's shared memory for as long as they wait.
    """
    archive = folder / "long"
    archive.mkdir()
    write_flac(archive / "recording.flac", loop_speech(speech, seconds))
    index = folder / "long-index"
    config = _index_config(folder, archive, model, index)
    with closing(LocalCluster(2, **NODE)) as cluster:
        command = ["env", f"RAY_ADDRESS={cluster.address}", sys.executable, str(INDEX_JOB), config]
        start = time.perf_counter()
        peak = peak_memory([*command, "ray.min_actors=2"], beside=cluster.raylets())
        took = time.perf_counter() - start
    [place] = storage.folders_in(str(index))
    by_node = Counter(pq.read_table(f"{place}/windows", columns=["node"]).column("node").to_pylist())
    summary = _index_summary(index)
    return {
        "audio_seconds": seconds,
        "windows_by_node": sorted(by_node.values()),
        "seconds": took,
        "peak_worker_bytes": peak,
        "samples_bytes": round(seconds * SAMPLE_RATE) * 2,
        "index_bytes_per_audio_hour": summary["index_bytes_per_audio_hour"],
    }


def _ask(run: Path, address: str, *settings: str) -> tuple[float, float]:
    """Run the main job; return its seconds and TFLOPs."""
    took = _run(JOB, address, *settings, f"output.path={run}")
    return took, json.loads((run / "summary.json").read_text())["totals"]["tflops_total"]


def _index_config(folder: Path, archive: Path, model: Path, index: Path) -> str:
    path = folder / f"{archive.name}.yaml"
    values = {
        "archive": {"path": str(archive)},
        "model": {"path": str(model), "random_weights": True},
        "index": {"path": str(index)},
    }
    path.write_text(yaml.safe_dump(values))
    return str(path)


def _index_summary(index: Path) -> dict[str, Any]:
    [place] = storage.folders_in(str(index))
    summary: dict[str, Any] = json.loads(storage.read_text(f"{place}/summary.json"))
    return summary


def _run(job: Path, address: str, *arguments: str) -> float:
    """Run a job in a process of its own on the Ray cluster at an address; return its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(job), *arguments],
        env=os.environ | {"RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{job.name} ended with exit code {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - start
