"""``--dry-run`` of the incremental index and of a search in it: against what they then take."""

from pathlib import Path

import pytest

from speechprune.config import load_config
from speechprune.data.index_files import WindowsDirectory
from speechprune.data.index_models import index_dir
from speechprune.index.config import IndexConfig
from speechprune.index.dry_run import dry_run_index
from speechprune.search.config import SearchConfig
from speechprune.search.dry_run import dry_run_search
from tests.helpers.archive import NIGHT
from tests.helpers.harness import launch, write_sound


def test_the_account_is_that_of_the_run_that_follows(archive, speech):
    for number, seconds in enumerate((40.0, 65.0)):
        write_sound(archive.sounds / f"{number}.wav", speech(seconds, start=30.0 * number))
    questions = archive.folder / "questions.yaml"
    questions.write_text("- question: Which day?\n  choices: [Monday, Friday]\n- Who comes?\n")
    answers = archive.folder / "answers"
    archive.configure(
        str(archive.sounds), archive.index, questions={"path": str(questions), "output": str(answers)}
    )
    config = load_config(IndexConfig, archive.config)
    plan = dry_run_index(config)
    assert not Path(archive.index).exists()
    assert not answers.exists()
    assert launch(archive.config, job=NIGHT).code == 0
    summary = archive.summary(archive.index)

    encoding, asking = plan.estimates
    assert plan.refusals == []
    assert (encoding.num_todo, encoding.num_done) == (2, 0)
    assert encoding.sample.audio_seconds / 3600 == pytest.approx(summary["audio_hours"])
    assert encoding.tflops["encode"] == pytest.approx(summary["tflops_encode"], rel=0.01)
    assert encoding.bytes_read == summary["audio_bytes"]
    assert encoding.bytes_written == pytest.approx(summary["index_bytes"], rel=0.1)
    assert (asking.num_todo, asking.num_done) == (summary["questions"]["num_ok"], 0)
    asked = summary["questions"]["tflops_per_question"] * asking.num_todo
    assert sum(asking.tflops.values()) == pytest.approx(asked, rel=0.02)  # three tokens are decoded at most

    encoding, asking = dry_run_index(config).estimates
    assert (encoding.num_todo, encoding.num_done, asking.num_todo, asking.num_done) == (0, 2, 0, 4)
    other = load_config(IndexConfig, archive.config, ["index.states=int8"])
    assert any("index.states is 'int8', but the windows" in line for line in dry_run_index(other).refusals)


def test_a_search_reads_the_index_once_per_pass(archive, speech):
    write_sound(archive.sounds / "0.wav", speech(5.0))
    assert launch(archive.config, job=NIGHT).code == 0
    file = archive.folder / "questions.jsonl"
    file.write_text('{"question": "Who comes?"}\n{"question": "Which day?"}\n{"question": "Why?"}\n')
    search = archive.folder / "search.yaml"
    search.write_text(
        f"search: {{index: {archive.index}, questions: {file}, questions_per_pass: 2}}\n"
        f"model: {{path: {archive.model}, dtype: float32, device: cpu}}\n"
        f"output: {{path: {archive.folder}/found}}\nray: {{executor: local}}\n"
    )
    config = load_config(SearchConfig, str(search))
    plan = dry_run_search(config)
    [estimate] = plan.estimates
    size = sum(WindowsDirectory(index_dir(archive.index, config.model, config.encoding)).sizes().values())
    assert (plan.refusals, estimate.num_todo) == ([], 3)
    assert estimate.bytes_read == pytest.approx((3 + 2) * size)  # three answers about it, two passes
    empty = load_config(SearchConfig, str(search), [f"search.index={archive.folder}/none"])
    plan = dry_run_search(empty)
    assert plan.estimates == []
    assert len(plan.refusals) == 1
    assert "is empty or does not exist" in plan.refusals[0]
