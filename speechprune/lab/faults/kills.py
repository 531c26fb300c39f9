"""Kills of the driver at random moments, and two launches at once: every item is answered exactly once."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loguru import logger

from speechprune import storage
from speechprune.lab.faults.cluster import JOB
from speechprune.lab.faults.faults import compare
from speechprune.lab.faults.scenario import read_rows

POLL_SECONDS = 0.02
EQUAL, OTHER = "pruning.pruning_rate=0.5", "pruning.pruning_rate=0.25"


@dataclass(frozen=True)
class Kills:
    """What became of the rows of runs that were killed, or launched twice at once.

    Parameters
    ----------
    scene
        What was done.
    runs, kills, while_writing
        Run directories; kills; those of them that came after the first answers and before the last.
    exit_codes
        Of the launches that were not killed.
    items, lost, duplicated, different
        Rows of all runs, compared with a run without a fault; see ``Outcome``.
    """

    scene: str
    runs: int
    kills: int
    while_writing: int
    exit_codes: list[int]
    items: int
    lost: int
    duplicated: int
    different: int


def kill_after(
    job: subprocess.Popen[bytes], files: Callable[[], Sized], num_files: int, seconds: float
) -> None:
    """Kill a launch some time after a number of its files is there, unless it ends before."""
    while len(files()) < num_files and job.poll() is None:
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(seconds)
    job.kill()


class KillScenes:
    """Runs the main job in processes of their own, without Ray.

    Parameters
    ----------
    folder
        Where run directories are made.
    settings
        Settings of the job besides output and pruning rate.
    """

    def __init__(self, folder: Path, settings: tuple[str, ...]) -> None:
        self._folder = folder
        self._settings = settings
        start = time.monotonic()
        reference = folder / "reference"
        if code := self._launch(reference, EQUAL).wait():
            raise RuntimeError(f"the run without a fault exits {code}")
        self._seconds = time.monotonic() - start
        self._reference = read_rows(str(reference))
        self._num_files = len(self._files(reference))

    def killed(self, num_kills: int, seed: int = 0) -> Kills:
        """Kill launches at random moments; a run that gets done is compared, and another is started."""
        generator = random.Random(seed)
        runs: list[Path] = []
        exit_codes: list[int] = []
        kills = while_writing = 0
        is_done = True
        while kills < num_kills or not is_done:
            if is_done:
                runs.append(self._folder / f"killed-{len(runs)}")
            job = self._launch(runs[-1], EQUAL)
            # with one file to go it is let through: all later kills would come while Python starts
            num_there = len(self._files(runs[-1]))
            if kills < num_kills and num_there < max(1, self._num_files - 1):
                num_files = generator.randrange(num_there, self._num_files)
                seconds = generator.uniform(0, self._seconds / self._num_files)
                kill_after(job, partial(self._files, runs[-1]), num_files, seconds)
            code = job.wait()
            is_done = code != -signal.SIGKILL
            if is_done:
                exit_codes.append(code)
            else:
                kills += 1
                num_rows = len(read_rows(str(runs[-1])))
                while_writing += 0 < num_rows < len(self._reference)
                logger.info("kill {} of {}: {} rows by then", kills, num_kills, num_rows)
        return self._compared("driver killed", runs, kills, while_writing, exit_codes)

    def _files(self, run: Path) -> list[str]:
        return storage.files_in(str(run / "answers/status=ok"), ".parquet")

    def at_once(self, other: str) -> Kills:
        """Launch twice at once on one directory: with ``EQUAL`` settings, or ``OTHER`` ones."""
        run = self._folder / f"at-once-{other.rpartition('=')[2]}"
        jobs = [self._launch(run, setting) for setting in (EQUAL, other)]
        exit_codes = [job.wait() for job in jobs]
        if json.loads((run / "run.json").read_text())["settings"]["pruning.pruning_rate"] != 0.5:
            self._launch(self._folder / "other-reference", other).wait()
            self._reference = read_rows(str(self._folder / "other-reference"))
        scene = "two launches, " + ("equal settings" if other == EQUAL else "other settings")
        return self._compared(scene, [run], 0, 0, exit_codes)

    def _launch(self, run: Path, setting: str) -> subprocess.Popen[bytes]:
        arguments = [*self._settings, setting, "ray.executor=local", f"output.path={run}"]
        with open(run.with_suffix(".log"), "ab") as log:
            return subprocess.Popen([sys.executable, str(JOB), *arguments], stdout=log, stderr=log)

    def _compared(self, scene: str, runs: list[Path], *counts: Any) -> Kills:
        found = [compare(read_rows(str(run)), self._reference) for run in runs]
        names = ("items", "lost", "duplicated", "different")
        return Kills(scene, len(runs), *counts, **{name: sum(one[name] for one in found) for name in names})


def kill_scenes(folder: Path, num_kills: int, settings: tuple[str, ...]) -> list[Kills]:
    """All scenes; the one of other settings comes last, as its reference may be another."""
    scenes = KillScenes(folder, settings)
    return [scenes.killed(num_kills), scenes.at_once(EQUAL), scenes.at_once(OTHER)]
