"""The examples of docs/other_tools.md, run on a run and a sweep; each is skipped without its package."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from speechprune.search.archive import Hit
from speechprune.sweep.points import points_table
from tests.helpers.answer_rows import answers, grid, right_of
from tests.helpers.answered_run import answered_run

PAGE = Path(__file__).parents[2] / "docs/other_tools.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Execute the example that contains a text, in a folder with a run and a sweep."""
    monkeypatch.chdir(tmp_path)
    answered_run("runs/demo")
    points = grid({"method": ["none", "truncate"]})
    rows = [*right_of("none", "++++-"), *right_of("truncate", "++---")]
    Path("runs/sweep").mkdir()
    pq.write_table(points_table(answers(rows), points), "runs/sweep/points.parquet")

    def execute(text: str) -> dict:
        (block,) = (block for block in BLOCKS if text in block)
        names: dict = {}
        exec(block, names)
        return names

    return execute


def test_hugging_face_datasets(run, monkeypatch):
    datasets = pytest.importorskip("datasets")
    pushed = []
    monkeypatch.setattr(datasets.Dataset, "push_to_hub", lambda self, name: pushed.append((name, len(self))))
    run("push_to_hub")
    assert pushed == [("you/answers", 3)]


def test_delta(run):
    deltalake = pytest.importorskip("deltalake")
    for _ in range(2):
        run("write_deltalake")
    table = deltalake.DeltaTable("tables/answers").to_pyarrow_table()
    assert sorted(table.column("status").to_pylist()) == ["failed"] * 2 + ["ok"] * 4


def test_mlflow(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    run("mlflow.log_metrics")
    runs = mlflow.search_runs(output_format="list")
    assert {one.info.run_name: one.data.metrics["accuracy"] for one in runs} == {"none": 0.8, "truncate": 0.4}


def test_langchain(run, monkeypatch):
    pytest.importorskip("langchain_core")

    class Found:
        def __init__(self, *place: str, num_listed: int) -> None:
            self.place = place

        def search(self, question: str) -> list[Hit]:
            return [Hit("a.wav", 3.0, 20.0, 25.0, ())]

        def text(self, recording: str, start: float, end: float) -> str:
            return f"{recording} from {start} to {end}"

    monkeypatch.setattr("speechprune.search.archive.Archive", Found)
    [passage] = run("langchain_core")["retriever"].invoke("Who comes?")
    assert passage.page_content == "a.wav from 5.0 to 40.0"
    assert passage.metadata == {"source": "a.wav", "start": 20.0, "end": 25.0}
