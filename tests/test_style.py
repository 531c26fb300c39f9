"""The code is linted and formatted, its rooms import only what lies below them; make check has the types."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_clean(command):
    run = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_rooms_import_only_what_lies_below_them():
    """The contracts are in pyproject.toml; imports inside functions count as well."""
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_library_imports_without_the_job():
    """In a notebook, on a machine with torch and transformers and little else."""
    absent = ["ray", "av", "soxr", "loguru", "s3fs", "pydantic"]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); from speechprune import *"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_workers_that_decode_and_write_never_load_torch():
    stages = "speechprune.pipeline.stages, speechprune.pipeline.retries"
    program = f"import sys, {stages}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_drivers_never_load_what_only_actors_need():
    jobs = "speechprune.pipeline.batch_qa, speechprune.index.job, speechprune.sweep.job"
    program = f"import sys, {jobs}; assert 'transformers.modeling_utils' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
