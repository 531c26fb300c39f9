"""Time and memory of the whole job for recordings of up to hours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

from speechprune.audio import SAMPLE_RATE
from speechprune.lab.faults.cluster import JOB
from speechprune.lab.speed.measurements import loop_speech, questions

SECONDS_BETWEEN_READINGS = 0.25


def long_recordings(
    speech: Sequence[Path], model: Path, folder: Path, seconds: Sequence[float]
) -> list[dict[str, Any]]:
    """Run the job once for each length: one recording, one question, with a new start of Ray.

    Parameters
    ----------
    speech
        Real speech, repeated to each length and stored as FLAC.
    model
        A model folder without weights.
    folder
        Folder for the recordings and runs.
    seconds
        Lengths of the recordings.

    Returns
    -------
    list of dict
        ``seconds_per_audio_hour`` counts the stages' work (decode, encode, prune, prefill), not Ray's
        start; ``peak_worker_bytes`` is the largest private memory (USS) of one process, beside which
        the samples lie once in Ray's shared memory (``samples_bytes``).
    """
    rows = []
    for length in seconds:
        place = folder / f"{length:.0f}s"
        place.mkdir()
        write_flac(place / "recording.flac", loop_speech(speech, length))
        question, choices = questions(1)[0]
        item = {"audio": "recording.flac", "question": question, "choices": choices}
        (place / "manifest.jsonl").write_text(json.dumps(item))
        peak = peak_memory(
            [
                sys.executable,
                str(JOB),
                f"input.manifest={place / 'manifest.jsonl'}",
                f"model.path={model}",
                "model.random_weights=true",
                f"output.path={place / 'run'}",
            ]
        )
        totals = json.loads((place / "run" / "summary.json").read_text())["totals"]
        stages = ("decode_audio", "encode", "prune", "prefill")
        work = {f"seconds_{stage}": totals[f"seconds_{stage}"] for stage in stages}
        rows.append(
            {
                "audio_seconds": length,
                **work,
                "seconds_per_audio_hour": sum(work.values()) / length * 3600,
                "peak_worker_bytes": peak,
                "samples_bytes": round(length * SAMPLE_RATE) * 2,
            }
        )
    return rows


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Write samples in blocks of a minute, so that no second copy of hours of them is made."""
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC") as file:
        for begin in range(0, len(samples), SAMPLE_RATE * 60):
            file.write(samples[begin : begin + SAMPLE_RATE * 60])


def peak_memory(command: list[str], beside: Sequence[psutil.Process] = ()) -> int:
    """Run a command; return the largest private memory of any of its processes.

    Parameters
    ----------
    beside
        Processes whose own and whose children's memory counts as well, such as the nodes of a cluster.
    """
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process, peak = psutil.Process(job.pid), 0
    while job.poll() is None:
        try:
            members = [one for root in (process, *beside) for one in (root, *root.children(recursive=True))]
        except psutil.NoSuchProcess:
            break
        for member in members:
            try:
                peak = max(peak, member.memory_full_info().uss)
            except psutil.Error:  # ended between the two calls
                continue
        time.sleep(SECONDS_BETWEEN_READINGS)
    if job.wait() != 0:
        raise RuntimeError(f"the job ended with exit code {job.returncode}: {' '.join(command)}")
    return peak
