"""Every family in every job, from a tiny checkpoint: answers, an index, answers from it, a search, a sweep.

``pytest tests/models/test_family_jobs.py -n 0 --executor ray`` runs the same on Ray.
"""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from speechprune.models.loading import check_model
from speechprune.models.options import ModelOptions
from tests.helpers.archive import NIGHT, rows_of
from tests.helpers.harness import JOB, launch, write_sound
from tests.helpers.sweeps import SWEEP

ROOT = Path(__file__).parents[2]
SEARCH = ROOT / "jobs/search_archive.py"
WINDOWS = {"short.wav": 0.2, "long.wav": 1.3}  # length of each recording in windows of the family
CHOICES = ["Monday", "Friday"]


@pytest.fixture
def executor(request) -> str:
    name = request.config.getoption("--executor")
    if name == "ray":
        request.getfixturevalue("ray_address")
    return name


@pytest.fixture
def window_seconds(kit, folder) -> float:
    return check_model(ModelOptions(path=folder, family=kit.family)).encoder.window_seconds


@pytest.fixture
def run(kit, folder, executor, monkeypatch):
    """``run(job, *arguments)``, which must end well; states in bfloat16 are stored without loss."""
    monkeypatch.setattr("speechprune.sweep.report.draw_figures", lambda points: [])
    family = [f"model.family={kit.family}"] if kit.family else []
    model = [f"model.path={folder}", *family, "model.dtype=bfloat16", "model.device=cpu"]

    def run(job: Path, *arguments: str) -> None:
        result = launch(*arguments, *model, job=job, executor=executor)
        assert result.code == 0, result.lines

    return run


def rows_in(folder: Path) -> dict[str, dict]:
    files = sorted(folder.glob("answers/status=ok/*.parquet"))
    return {
        row["item_id"]: row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()
    }


def spans(evidence: list[dict]) -> list[tuple[float, float]]:
    return [(part["start"], part["end"]) for part in evidence]


def test_answers_index_search_and_sweep(run, window_seconds, tmp_path, speech):
    sounds, manifest, index = tmp_path / "sounds", tmp_path / "manifest.jsonl", tmp_path / "index"
    sounds.mkdir()
    for name, share in WINDOWS.items():
        write_sound(sounds / name, speech(share * window_seconds))
    question = {"question": "Which day?", "choices": CHOICES, "answer": CHOICES[0]}
    items = [question | {"item_id": name, "audio": str(sounds / name)} for name in WINDOWS]
    manifest.write_text("\n".join(map(json.dumps, items)))
    asked = [f"input.manifest={manifest}", "pruning.phase1_budget=native"]
    run(JOB, *asked, f"output.path={tmp_path / 'direct'}")
    direct = rows_in(tmp_path / "direct")
    assert direct.keys() == WINDOWS.keys()

    standing = ["questions.path=null", "questions.output=null"]
    run(NIGHT, str(ROOT / "configs/index.yaml"), f"archive.path={sounds}", f"index.path={index}", *standing)
    assert {Path(row["recording"]).name for row in rows_of(str(index))} == WINDOWS.keys()
    run(JOB, *asked, f"input.index={index}", f"output.path={tmp_path / 'stored'}")
    for name, row in rows_in(tmp_path / "stored").items():
        expected = direct[name]
        for column in ("prediction", "evidence_text", "num_kept_tokens"):
            assert row[column] == expected[column]
        assert spans(row["evidence"]) == spans(expected["evidence"])
        assert row["choice_probabilities"] == pytest.approx(expected["choice_probabilities"], abs=1e-3)
        assert row["tflops_encode"] < expected["tflops_encode"] / 10
    run(SEARCH, "Which day?", f"search.index={index}", f"output.path={tmp_path / 'found'}")
    hits = pq.read_table(tmp_path / "found/hits.parquet").to_pylist()
    assert {Path(hit["recording"]).name for hit in hits} == WINDOWS.keys()

    grid = "grid.points=[{method: speechprune, phase1_budget: native}, {method: none}]"
    table1 = str(ROOT / "configs/paper_table1.yaml")
    swept = [
        f"input.manifest={manifest}",
        f"input.index={index}",
        "report.slices=[]",
        "report.reference=null",
    ]
    run(SWEEP, table1, grid, *swept, f"output.path={tmp_path / 'sweep'}")
    points = pq.read_table(tmp_path / "sweep/points.parquet").to_pylist()
    assert [point["num_items"] for point in points] == [2, 2]
