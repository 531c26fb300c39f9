"""Jobs as tests handle them: launches in this process or in another, their folder, their rows."""

import functools
import importlib.util
import json
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from loguru import logger

from speechprune.audio import SAMPLE_RATE

JOB = Path(__file__).parents[2] / "jobs/batch_qa.py"
POLL_SECONDS = 0.05
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["speechprune.index.job", "speechprune.pipeline.answer_stage", "speechprune.sweep.job"]
    + [f"transformers.models.qwen2_audio.{kind}_qwen2_audio" for kind in ("modeling", "processing")]
)


@dataclass(frozen=True)
class Launch:
    """How a launch of the job went: its exit code, and its lines on the screen."""

    code: int
    lines: list[str]


@functools.cache
def load_job(script: Path) -> ModuleType:
    """A job's script as a module."""
    spec = importlib.util.spec_from_file_location(f"{script.stem}_job", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(*arguments: str, job: Path = JOB, executor: str | None = None) -> Launch:
    """Launch a job in this process, on its config's executor or another; on Ray it joins what runs here."""
    if executor is not None:
        arguments = (*arguments, f"ray.executor={executor}")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechprune.pipeline.terminal.log_to_screen", lambda: None)
        sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
        try:
            return Launch(load_job(job).main(list(arguments)), lines)
        finally:
            logger.remove(sink)


class JobProcess:
    """A job in a process of its own, forked from one that has imported what takes longer than most jobs."""

    def __init__(self, command: list[str], output: Path) -> None:
        self._output = output
        self._process = FORKS.Process(target=run_as_script, args=(command, dict(os.environ), output))
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        if self._process.is_alive():
            os.kill(self._process.pid, number)

    def wait(self) -> Launch:
        """Its end."""
        self._process.join(timeout=120)
        assert self._process.exitcode is not None, "timed out"
        return Launch(self._process.exitcode, self._output.read_text().splitlines())

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Something that it does; fails if it ends before."""
        wait_until(lambda: happened() or not self._process.is_alive())
        assert happened(), self.wait().lines


def run_as_script(command: list[str], environment: dict[str, str], output: Path) -> None:
    """``python COMMAND`` in this process, all that it prints into a file."""
    with output.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


def wait_until(happened: Callable[[], bool], timeout_seconds: float = 120) -> None:
    give_up = time.monotonic() + timeout_seconds
    while not happened():
        assert time.monotonic() < give_up, "timed out"
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Job:
    """A folder with a manifest, a config and a run directory."""

    folder: Path
    run_name: str = "run"

    @property
    def config(self) -> str:
        return str(self.folder / "config.yaml")

    @property
    def run(self) -> Path:
        return self.folder / self.run_name

    def write(self, items: list[dict], model: str, **sections: dict[str, Any]) -> None:
        """Write manifest and config; the job runs without Ray, unless a section says otherwise."""
        self.write_manifest(items)
        values = {
            "input": {"manifest": str(self.folder / "manifest.jsonl")},
            "model": {"path": model, "dtype": "float32", "device": "cpu"},
            "output": {"path": str(self.run)},
            "answering": {"max_new_tokens": 3},
            "ray": {"executor": "local"},
        }
        for section, settings in sections.items():
            values[section] = values.get(section, {}) | settings
        Path(self.config).write_text(yaml.safe_dump(values))

    def write_manifest(self, items: list[dict]) -> None:
        """Write the items anew."""
        lines = "\n".join(json.dumps(item) for item in items)
        (self.folder / "manifest.jsonl").write_text(lines)

    def items(self) -> list[dict]:
        """The manifest's."""
        return [json.loads(line) for line in (self.folder / "manifest.jsonl").read_text().splitlines()]

    def files(self, status: str) -> list[Path]:
        """Answers files."""
        return sorted((self.run / f"answers/status={status}").glob("*.parquet"))

    def rows(self, status: str) -> dict[str, dict]:
        """All rows of a status by id, each there once."""
        rows = [
            row for file in self.files(status) for row in pq.read_table(file, partitioning=None).to_pylist()
        ]
        by_id = {row["item_id"]: row for row in rows}
        assert len(by_id) == len(rows), "an item has two rows"
        return by_id

    def summary(self) -> dict[str, Any]:
        return json.loads((self.run / "summary.json").read_text())


def write_sound(path: Path, samples, **options) -> str:
    """int16 samples at 16 kHz as a file; its name, for a manifest beside it."""
    soundfile.write(path, samples, SAMPLE_RATE, **options)
    return path.name
