"""A search job reads the codes of an index where it has them, and all states where it is asked to."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers.archive import NIGHT
from tests.helpers.harness import launch, write_sound

pytest.importorskip("faiss")

SEARCH = NIGHT.parent / "search_archive.py"


@pytest.mark.usefixtures("short_codes")
def test_a_search_uses_the_codes_unless_exact_is_asked_for(archive, speech):
    for i, seconds in enumerate((3.0, 40.0, 61.0)):
        write_sound(archive.sounds / f"{i}.wav", speech(seconds, start=9.0 * i))
    assert launch(archive.config, job=NIGHT).code == 0
    config = archive.folder / "search.yaml"
    values = {
        "search": {"index": archive.index, "num_answered": 0},
        "model": {"path": archive.model, "dtype": "float32", "device": "cpu"},
        "ray": {"executor": "local"},
    }
    config.write_text(yaml.safe_dump(values))

    def search(name: str, *settings: str) -> tuple[str, list[dict]]:
        run = archive.folder / name
        assert launch("Which day?", str(config), f"output.path={run}", *settings, job=SEARCH).code == 0
        kind = json.loads((run / "summary.json").read_text())["search"]
        return kind, pq.read_table(run / "hits.parquet").to_pylist()

    kind, without = search("without")
    assert kind == "exact"
    assert launch(archive.config, "index.search_codes=true", job=NIGHT).code == 0
    assert archive.summary(archive.index)["search_codes"]["num_coded"] == 6
    assert search("exact", "search.exact=true") == ("exact", without)
    kind, hits = search("approximate")
    assert kind == "approximate"
    assert {hit["recording"] for hit in hits} == {hit["recording"] for hit in without}
    assert all(0 <= hit["start"] < hit["end"] and hit["score"] > 0 for hit in hits)
    write_sound(archive.sounds / "new.wav", speech(20.0, start=50.0))  # indexed, but without codes
    (archive.sounds / "0.wav").unlink()
    assert launch(archive.config, job=NIGHT).code == 0
    _, hits = search("partly")
    assert {Path(hit["recording"]).name for hit in hits} == {"1.wav", "2.wav", "new.wav"}
