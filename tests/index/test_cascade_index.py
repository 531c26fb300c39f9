"""The index of a cascade: token ids and times, from which questions are answered and recordings found."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from tests.helpers.archive import NIGHT, rows_of
from tests.helpers.harness import Job, launch, write_sound
from tests.helpers.tiny_cascade import save_tiny_cascade

SEARCH = Path(__file__).parents[2] / "jobs/search_archive.py"


def test_answers_and_hits_come_from_token_ids(archive, speech, tmp_path):
    archive = replace(archive, model=save_tiny_cascade(tmp_path / "cascade"))
    archive.configure(str(archive.sounds), archive.index)
    items = [
        {
            "item_id": str(i),
            "audio": f"sounds/{write_sound(archive.sounds / f'{i}.wav', speech(seconds, start=9.0 * i))}",
            "question": "Which day?",
            "choices": ["Monday", "Friday"],
        }
        for i, seconds in enumerate((7.0, 40.0))
    ]
    job = Job(archive.folder)
    job.write(items, archive.model, input={"index": None})
    assert launch(job.config).code == 0
    direct = job.rows("ok")
    assert all(len(row["evidence_text"]) == len(row["evidence"]) > 0 for row in direct.values())
    assert launch(archive.config, job=NIGHT).code == 0
    windows = rows_of(archive.index)
    assert all(row["dtype"] == "int32" and len(row["states"]) == 4 * row["num_tokens"] for row in windows)
    stored = Job(archive.folder, "stored")
    stored.write(items, archive.model, input={"index": archive.index})
    assert launch(stored.config).code == 0
    for item_id, row in stored.rows("ok").items():
        expected = direct[item_id]
        for name in (
            "prediction",
            "choice_probabilities",
            "evidence",
            "evidence_text",
            "num_kept_tokens",
            "audio_seconds",
        ):
            assert row[name] == expected[name]
        assert row["tflops_encode"] == 0 < expected["tflops_encode"]
    config = archive.folder / "search.yaml"
    values = {
        "search": {"index": archive.index},
        "model": {"path": archive.model, "dtype": "float32", "device": "cpu"},
        "output": {"path": str(archive.folder / "found")},
        "ray": {"executor": "local"},
    }
    config.write_text(yaml.safe_dump(values))
    assert launch("Which day?", str(config), job=SEARCH).code == 0
    hits = pq.read_table(archive.folder / "found/hits.parquet").to_pylist()
    assert {Path(hit["recording"]).name for hit in hits} == {"0.wav", "1.wav"}
