"""An index asked again and again in one process: hits as the job finds them, words as those of the index."""

from dataclasses import replace

import numpy as np
import pytest

from speechprune.config import ConfigError
from speechprune.models.loading import load_transcript_tokenizer
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import OutputOptions
from speechprune.pipeline.options import RayOptions
from speechprune.search.archive import Archive
from speechprune.search.config import SearchConfig, SearchOptions
from speechprune.search.job import run_search
from tests.helpers.archive import NIGHT, rows_of
from tests.helpers.harness import launch, write_sound
from tests.helpers.tiny_cascade import save_tiny_cascade


def test_an_archive_answers_as_the_job_does(archive, speech, tmp_path):
    archive = replace(archive, model=save_tiny_cascade(tmp_path / "cascade"))
    archive.configure(str(archive.sounds), archive.index)
    for name, start in (("a.wav", 0.0), ("b.wav", 50.0)):
        write_sound(archive.sounds / name, speech(4.0, start=start))
    assert launch(archive.config, job=NIGHT).code == 0
    model = ModelOptions(path=archive.model, dtype="float32", device="cpu")
    config = SearchConfig(
        search=SearchOptions(index=archive.index, num_answered=0),
        model=model,
        output=OutputOptions(path=str(tmp_path / "found")),
        ray=RayOptions(executor="local"),
    )
    opened = Archive(archive.index, model)
    for question, choices in (("Which day?", None), ("Who comes?", ["Anna", "Bert"])):
        expected = run_search(config, (question, choices)).hits.to_pylist()
        hits = opened.search(question, choices)
        assert [(hit.recording, hit.score, hit.start, hit.end) for hit in hits] == [
            (row["recording"], row["score"], row["start"], row["end"]) for row in expected
        ]
    with pytest.raises(ConfigError, match="1 choice"):
        opened.search("Which day?", ["Monday"])

    tokenizer = load_transcript_tokenizer(model)
    for row in rows_of(archive.index):
        ids, times = np.frombuffer(row["states"], "<i4"), np.frombuffer(row["token_times"]).reshape(-1, 2)
        inside = (times[:, 1] > 1.0) & (times[:, 0] < 3.0)
        assert opened.text(row["recording"], 1.0, 3.0) == tokenizer.decode(ids[inside]).strip()
