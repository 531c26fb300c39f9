"""Benchmarks as tests build them: their config, their files."""

import functools
import json
from pathlib import Path

import yaml

from tests.helpers.harness import launch

JOB = Path(__file__).parents[2] / "jobs/build_benchmark.py"
NUM_RECORDINGS, NUM_QUESTIONS = 24, 2
NUM_BEFORE_KILL = 5

launch_build = functools.partial(launch, job=JOB)


def write_config(folder: Path, **sections: dict) -> str:
    """A config that builds without Ray, unless a section says otherwise."""
    values = {
        "output": {"path": str(folder / "benchmark")},
        "items": {
            "num_recordings": NUM_RECORDINGS,
            "questions_per_recording": NUM_QUESTIONS,
            "min_seconds": 30,
            "max_seconds": 33,
        },
        "acoustics": {"snr_db": 20, "reverberation_seconds": 0.3},
        "ray": {"executor": "local", "recordings_per_block": 2},
    }
    for section, settings in sections.items():
        values[section] = values.get(section, {}) | settings
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a user reads; parts and run.json tell how it was made."""
    names = ["README.md", "card.json", "manifest.jsonl", "spiral.jsonl", "transcripts.jsonl"]
    return {name: (folder / name).read_bytes() for name in names} | audio_of(folder)


def audio_of(folder: Path) -> dict[str, bytes]:
    return {f"audio/{path.name}": path.read_bytes() for path in (folder / "audio").iterdir()}


def differing(folder: Path, other: Path) -> list[str]:
    """Names of files that are not the same in both."""
    files, others = files_of(folder), files_of(other)
    return sorted(name for name in files | others if files.get(name) != others.get(name))


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
