"""The code is linted, formatted and typed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_clean(command):
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_only_the_pipeline_and_the_jobs_import_ray():
    """The library works in a notebook on a machine without Ray."""
    program = (
        "import sys; sys.modules['ray'] = None; import speechprune, speechprune.config, speechprune.manifest"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    importing = [
        path.relative_to(ROOT).parts[:2]
        for path in (ROOT / "speechprune").rglob("*.py")
        if any(line.startswith(("import ray", "from ray")) for line in path.read_text().splitlines())
    ]
    assert set(importing) == {("speechprune", "pipeline")}
