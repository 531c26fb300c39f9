"""The benchmark of a GPU runs whole, at a small size, on a machine that has none."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechprune.lab.gpu import command
from speechprune.lab.gpu.clock import PartTimeout, time_limit
from speechprune.lab.gpu.tables import TABLES, as_markdown

ROOT = Path(__file__).parents[2]
# run before the script: as on a machine that has torch and transformers alone
WITHOUT = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "av", "loguru"}:
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    output = tmp_path_factory.mktemp("gpu") / "results.json"
    script = [
        sys.executable,
        "-c",
        WITHOUT,
        str(ROOT / "jobs/bench_gpu.py"),
        "--smoke",
        "--output",
        str(output),
    ]
    run = subprocess.run(
        script, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(output.read_text())


def test_every_part_runs_to_its_end_without_ray_ffmpeg_and_loguru(results):
    ended = {part.name: results[part.name]["ended"] for part in command.PARTS}
    assert ended == dict.fromkeys(ended, "done")
    assert results.keys() >= TABLES.keys()


def test_every_column_of_every_table_has_a_value(results):
    """A heading whose key no row has would be a column of dashes."""
    for name, (_, columns) in TABLES.items():
        keys = set().union(*results[name]["rows"])
        assert {key for _, key, _ in columns} <= keys
    shown = as_markdown(results)
    assert all(f"### {title}" in shown for title, _ in TABLES.values())


def test_a_speed_up_is_the_loops_time_over_ours(results):
    rows = results["answers"]["rows"]
    loop, ours = rows[0], rows[2]
    assert (loop["way"], ours["way"]) == ("Hugging Face loop", "SpeechPrune 0.2")
    assert ours["speed_up"] == loop["seconds_per_question"] / ours["seconds_per_question"]
    assert ours["by_flops"] == loop["tflops_per_question"] / ours["tflops_per_question"]


def test_numbers_that_must_hold_anywhere_hold_here(results):
    values = {row["what"]: row["value"] for row in results["agreement"]["rows"]}
    assert values["largest difference of a logit from Hugging Face's, float32"] < 1e-4
    assert values["keep the same tokens alone and in a batch, float32"] == 1


def test_a_part_that_is_out_of_time_keeps_its_rows_and_the_next_runs(monkeypatch, tmp_path, capsys):
    def endless(bench):
        yield {"row": 1}
        while True:
            time.monotonic()

    parts = (command.Part("limits", endless, 0.1), command.Part("broken", broken, 5), command.PARTS[1])
    monkeypatch.setattr(command, "PARTS", parts)
    output = tmp_path / "results.json"
    assert command.main(["--smoke", "--output", str(output)]) == 1
    results = json.loads(output.read_text())
    assert results["limits"]["rows"] == [{"row": 1}]
    assert results["limits"]["ended"] == "its time was over"
    assert "ZeroDivisionError" in results["broken"]["ended"]
    assert "prefill" in results


def broken(bench):
    yield {"row": 1 / 0}


def test_no_except_of_a_part_swallows_the_limit():
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                time.monotonic()

    with pytest.raises(PartTimeout), time_limit(0.05):
        stubborn()


def test_the_tables_of_the_docs_are_those_of_the_measured_file():
    measured = json.loads((ROOT / "docs/measured/gpu_h200.json").read_text())
    shown = as_markdown(measured).splitlines()
    page = (ROOT / "docs/gpu.md").read_text().split("## Limits of the card")[1]
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert len(tables) > 100
    assert [line for line in tables if line not in shown] == []


def test_without_a_gpu_it_names_the_option(capsys):
    with pytest.raises(SystemExit):
        command.main([])
    assert "add --smoke" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--smoke", "--parts", "prefil"])
    assert "--parts names 'prefil'" in capsys.readouterr().err
