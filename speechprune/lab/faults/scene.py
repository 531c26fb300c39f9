"""The main job as faults meet it: an archive in a faulty store, a cluster of nodes, launches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from speechprune import storage
from speechprune.lab.faults.cluster import JOB, LocalCluster, wait_until
from speechprune.lab.faults.store import FaultyStore

DEMO = Path(__file__).parents[2] / "demo"
BUCKET = "s3://archive"
NUM_WORKERS = 3
LAUNCH_SECONDS = 1800.0  # none takes that long


@dataclass
class Scene:
    """A job with all that it needs, before a fault.

    Parameters
    ----------
    cluster
        Where it runs.
    store
        Where its recordings and answers lie.
    name
        Of its run directory.
    settings
        Of the job, beside manifest and output.
    """

    cluster: LocalCluster
    store: FaultyStore
    name: str
    settings: tuple[str, ...] = ()
    exit_codes: list[int] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)

    @property
    def run_path(self) -> str:
        """The run directory."""
        return f"{BUCKET}/runs/{self.name}"

    def launch(self) -> subprocess.Popen[str]:
        """Begin a launch of the job."""
        return subprocess.Popen(
            [
                sys.executable,
                str(JOB),
                f"input.manifest={BUCKET}/manifest.jsonl",
                f"output.path={self.run_path}",
                *self.settings,
            ],
            env=os.environ | {"RAY_ADDRESS": self.cluster.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until_some_are_answered(self, job: subprocess.Popen[str], num_files: int = 4) -> None:
        """Wait for so many files of answers."""
        answers = f"{self.run_path}/answers/status=ok"
        wait_until(
            lambda: len(storage.files_in(answers, ".parquet")) >= num_files,
            or_not=lambda: job.poll() is not None,
        )

    def to_its_end(self, job: subprocess.Popen[str]) -> None:
        """Wait for the end of a launch, and note its exit code."""
        output, _ = job.communicate(timeout=LAUNCH_SECONDS)
        self.exit_codes.append(job.returncode)
        self.last_lines = output.splitlines()

    def kill(self, job: subprocess.Popen[str]) -> None:
        """End a launch at once."""
        job.send_signal(signal.SIGKILL)
        self.to_its_end(job)


def fill_archive(folder: str, num_copies: int) -> int:
    """Put the demo's recordings somewhere, so many times, and a manifest of all their questions.

    Returns
    -------
    int
        Items of the manifest.
    """
    archive = DEMO / "archive"
    items = [json.loads(line) for line in (archive / "manifest.jsonl").read_text().splitlines()]
    fs, place = storage.filesystem(folder)
    fs.makedirs(place, exist_ok=True)
    copied = []
    for copy in range(num_copies):
        for path in sorted((archive / "audio").iterdir()):
            storage.write_bytes(f"{folder}/audio/{copy:03}/{path.name}", path.read_bytes())
        copied += [
            item
            | {
                "item_id": f"{copy:03}-{item['item_id']}",
                "audio": f"audio/{copy:03}/{Path(item['audio']).name}",
            }
            for item in items
        ]
    storage.write_bytes(f"{folder}/manifest.jsonl", "\n".join(map(json.dumps, copied)).encode())
    return len(copied)


def rows_of(run_path: str) -> list[dict[str, object]]:
    """Every row of every file of answers, with its status; nothing is put in order first."""
    rows = []
    for status in ("ok", "failed"):
        for file in storage.files_in(f"{run_path}/answers/status={status}", ".parquet"):
            with storage.open_binary(file, block_bytes=1 << 20) as handle:
                rows += [row | {"status": status} for row in pq.read_table(handle).to_pylist()]
    return rows
