"""Soak run: memory and open files of every process while thousands of recordings pass through."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
from loguru import logger

from speechprune.lab.faults.cluster import JOB
from speechprune.lab.faults.scenario import fill_archive

RECORDINGS_PER_BLOCK = 4
# shares of the work between which processes are measured; after the last block the driver reads all answers
# once, for the summary
LOOKS = {"10 %": (0.10, 0.13), "50 %": (0.49, 0.52), "100 %": (0.96, 0.999)}
SECONDS_BETWEEN_READINGS = 2.0
SECONDS_BETWEEN_LINES = 60.0
Reading = tuple[float, int, int]  # share of the work, bytes, open files
ROLES = {
    "ray::MapWorker": "actor with the model",
    "ray::": "other workers",
    "raylet": "Ray's node process",
    "gcs_server": "Ray's head process",
}


@dataclass(frozen=True)
class Growth:
    """Largest memory and number of files of any process of one role, at each of ``LOOKS``.

    Parameters
    ----------
    memory_bytes
        Private memory: without files, and without the pages of Ray's shared memory that the process has read,
        whose number grows until it has read all of them.
    files
        Open file descriptors.
    """

    role: str
    memory_bytes: dict[str, int]
    files: dict[str, int]


@dataclass(frozen=True)
class Soak:
    """Result of a soak run.

    Parameters
    ----------
    recordings, items, seconds
        Size and time of the whole run.
    failed
        Failed items.
    growth
        Memory and files by role.
    """

    recordings: int
    items: int
    seconds: float
    failed: int
    growth: list[Growth]


def soak(folder: Path, num_copies: int, settings: tuple[str, ...]) -> Soak:
    """Answer ``num_copies`` copies of the demo's archive in one launch on this machine.

    Parameters
    ----------
    folder
        Folder for archive and run.
    num_copies
        Number of copies of the demo's archive.
    settings
        Settings of the job besides manifest, output and block size.
    """
    fill_archive(str(folder), num_copies)
    run = folder / "run"
    num_recordings = len(list((folder / "audio").rglob("*.opus")))
    command = [sys.executable, str(JOB), f"input.manifest={folder / 'manifest.jsonl'}", f"output.path={run}"]
    command += [f"ray.recordings_per_block={RECORDINGS_PER_BLOCK}", *settings]
    start = time.perf_counter()
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    num_files = num_recordings / RECORDINGS_PER_BLOCK
    readings = watch(psutil.Process(job.pid), run / "answers/status=ok", num_files)
    seconds = time.perf_counter() - start
    if job.wait() != 0:
        raise RuntimeError(f"the job ended with exit code {job.returncode}: {' '.join(command)}")
    summary = json.loads((run / "summary.json").read_text())
    return Soak(
        recordings=num_recordings,
        items=summary["num_ok"],
        seconds=seconds,
        failed=summary["num_failed"],
        growth=growth(readings),
    )


def watch(job: psutil.Process, answers: Path, num_files: float) -> dict[str, list[Reading]]:
    """Measure all processes of a running job until it ends; readings by role.

    Parameters
    ----------
    job
        The driver.
    answers
        Folder whose number of files shows the progress.
    num_files
        Number of files at the end.
    """
    readings: dict[str, list[Reading]] = defaultdict(list)
    last_line = time.monotonic()
    share = 0.0
    while job.is_running() and job.status() != psutil.STATUS_ZOMBIE:
        share = max(share, len(list(answers.glob("*.parquet"))) / num_files)  # at its end they are joined
        for process in [job, *job.children(recursive=True)]:
            try:
                role = "driver" if process == job else _role(process)
                memory = process.memory_info()
                readings[role].append((share, memory.rss - memory.shared, process.num_fds()))
            except psutil.Error:  # ended meanwhile
                continue
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            logger.info("{:.0%} done", share)
        time.sleep(SECONDS_BETWEEN_READINGS)
    return readings


def growth(readings: dict[str, list[Reading]]) -> list[Growth]:
    """Memory and files of each role at each of ``LOOKS``."""
    grown = []
    for role, some in sorted(readings.items()):
        seen = {
            look: [(size, num) for share, size, num in some if begin <= share <= end] or [(0, 0)]
            for look, (begin, end) in LOOKS.items()
        }
        grown.append(
            Growth(
                role,
                memory_bytes={look: max(size for size, _ in held) for look, held in seen.items()},
                files={look: max(num for _, num in held) for look, held in seen.items()},
            )
        )
    return grown


def _role(process: psutil.Process) -> str:
    command = " ".join(process.cmdline()[:1]) or process.name()
    return next((role for name, role in ROLES.items() if name in command), "Ray's other services")
