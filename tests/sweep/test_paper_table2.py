"""The paper's Table II: its config on two families, each with the budget of its own 30 s."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.harness import Launch, launch, write_sound
from tests.helpers.sweeps import CHOICES, SWEEP
from tests.helpers.tiny_diva import save_tiny_diva

CONFIG = str(Path(__file__).parents[2] / "configs/paper_table2.yaml")
LENGTHS = {"meetings": 61.0, "news": 35.0}


@pytest.fixture(scope="module")
def diva(tmp_path_factory) -> str:
    return save_tiny_diva(tmp_path_factory.mktemp("models") / "diva")


@pytest.fixture(scope="module")
def table(tmp_path_factory, tiny_model_folder, diva, speech) -> tuple[Path, Launch]:
    folder = tmp_path_factory.mktemp("table")
    manifests = {}
    for name, seconds in LENGTHS.items():
        audio = write_sound(folder / f"{name}.wav", speech(seconds))
        row = {"audio": audio, "question": "Which day?", "choices": CHOICES, "answer": CHOICES[0]}
        manifests[name] = str(folder / f"{name}.jsonl")
        Path(manifests[name]).write_text(json.dumps(row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechprune.sweep.report.draw_figures", lambda points: [])
        result = launch(
            CONFIG,
            *(
                f"grid.models={json.dumps([tiny_model_folder, diva])}",
                f"input.manifest={json.dumps(manifests)}",
            ),
            *(f"output.path={folder / 'run'}", "ray.executor=local"),
            job=SWEEP,
        )
    return folder / "run", result


def test_models_by_benchmarks_by_path_and_manifest_alone(table, tiny_model_folder, diva):
    """Original and SpeechPrune at the paper's two rates; 30 s are 750 tokens of one, 48 of the other."""
    run, result = table
    assert result.code == 0, result.lines
    points = pq.read_table(run / "points.parquet").to_pylist()
    kept = {(row["model"], row["benchmark"], row["method"], row["pruning_rate"]): row for row in points}
    assert {key: row["num_kept_tokens"] for key, row in kept.items()} == {
        (model, benchmark, method, rate): round((1 - (rate or 0)) * native)
        for model, native in ((tiny_model_folder, 750), (diva, 48))
        for benchmark in LENGTHS
        for method, rate in (("truncate", None), ("speechprune", 0.15), ("speechprune", 0.2))
    }
