"""Scenario of a fault: the main job, its archive in a faulty store, and a cluster of nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from speechprune import storage
from speechprune.data.parquet_files import read_parquet
from speechprune.lab.faults.cluster import JOB, LocalCluster, wait_until
from speechprune.lab.faults.store import FaultyStore

DEMO = Path(__file__).parents[2] / "demo"
BUCKET = "s3://archive"
NUM_WORKERS = 3
LAUNCH_SECONDS = 1800.0  # longer than any launch takes


@dataclass
class Scenario:
    """The main job with everything that it needs.

    Parameters
    ----------
    cluster
        Cluster that it runs on.
    store
        Store of its recordings and answers.
    name
        Name of its run directory.
    settings
        Settings of the job besides manifest and output.
    """

    cluster: LocalCluster
    store: FaultyStore
    name: str
    settings: tuple[str, ...] = ()
    exit_codes: list[int] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)

    @property
    def run_path(self) -> str:
        """Address of the run directory."""
        return f"{BUCKET}/runs/{self.name}"

    def launch(self) -> subprocess.Popen[str]:
        """Launch the job."""
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

    def wait_for_answers(self, job: subprocess.Popen[str], num_files: int = 4) -> None:
        """Wait until the job has written ``num_files`` files of answers."""
        answers = f"{self.run_path}/answers/status=ok"
        wait_until(
            lambda: len(storage.files_in(answers, ".parquet")) >= num_files,
            unless=lambda: job.poll() is not None,
        )

    def wait_for_exit(self, job: subprocess.Popen[str]) -> None:
        """Wait for the end of a launch, and keep its exit code and output."""
        output, _ = job.communicate(timeout=LAUNCH_SECONDS)
        self.exit_codes.append(job.returncode)
        self.last_lines = output.splitlines()

    def kill(self, job: subprocess.Popen[str]) -> None:
        """Kill a launch."""
        job.send_signal(signal.SIGKILL)
        self.wait_for_exit(job)


def fill_archive(folder: str, num_copies: int) -> int:
    """Write ``num_copies`` copies of the demo's recordings to a folder, with one manifest.

    Returns
    -------
    int
        Number of items in the manifest.
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


def read_rows(run_path: str) -> list[dict[str, object]]:
    """Read every row of every answers file as it lies there, with its status."""
    rows = []
    for status in ("ok", "failed"):
        for file in storage.files_in(f"{run_path}/answers/status={status}", ".parquet"):
            table = read_parquet(file, lambda parquet: parquet.read())
            rows += [row | {"status": status} for row in table.to_pylist()]
    return rows
