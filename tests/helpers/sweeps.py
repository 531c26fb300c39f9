"""Sweeps as tests handle them: their job, their rows."""

from pathlib import Path

import pyarrow.parquet as pq

from tests.helpers.harness import Job, write_sound

SWEEP = Path(__file__).parents[2] / "jobs/sweep.py"
CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]
NUM_RECORDINGS = 6
BLOCKS = [
    {"method": "truncate"},
    {"method": ["speechprune", "first_phase"], "pruning_rate": [0.2, 0.6], "phase1_budget": 40},
    {"method": "random", "pruning_rate": 0.6, "phase1_budget": 40, "seed": [0, 1]},
]
NUM_POINTS = 7
Rows = dict[tuple[str, ...], dict]


def items(folder: Path, speech) -> list[dict]:
    """Two questions about each of some recordings, of known places, scenarios and letters."""
    return [
        {
            "item_id": f"item-{i}-{question[:3]}",
            "audio": write_sound(folder / f"{i}.wav", speech(4.0 + i, start=7.0 * i)),
            "question": question,
            "choices": CHOICES,
            "answer": CHOICES[(i + len(question)) % 4],
            "evidence_start": 1.0,
            "evidence_end": 2.0,
            "scenario": ("meeting", "lecture")[i % 2],
        }
        for i in range(NUM_RECORDINGS)
        for question in ("Which day?", "What comes next?")
    ]


def make_job(folder: Path, model: str, speech, **sections) -> Job:
    job = Job(folder)
    defaults = {
        "input": {"manifest": {"a": str(folder / "manifest.jsonl")}},
        "grid": {"points": BLOCKS},
        "report": {"slices": ["position", "scenario"], "reference": {"method": "speechprune"}},
        "ray": {"recordings_per_block": 1},
    }
    job.write(items(folder, speech), model, **(defaults | sections))
    return job


def sweep_rows(job: Job, status: str = "ok") -> Rows:
    tables = [pq.read_table(file, partitioning=None) for file in job.files(status)]
    rows = [row for table in tables for row in table.to_pylist()]
    keyed = {(row["model"], row["benchmark"], row["point"], row["item_id"]): row for row in rows}
    assert len(keyed) == len(rows), "an item has two rows at a point"
    return keyed
