"""What a sweep is asked about: a benchmark that is built first, and input that it refuses."""

from pathlib import Path

import pytest

from tests.helpers.harness import launch
from tests.helpers.sweeps import BLOCKS, SWEEP, make_job, sweep_rows


def test_a_benchmark_is_built_first_where_it_is_not_there(tmp_path, tiny_model_folder, speech):
    config = Path(__file__).parents[2] / "configs/benchmark.yaml"
    build = f"'{config}' items.num_recordings=1 items.questions_per_recording=2 items.min_seconds=20 "
    build += f"items.max_seconds=22 output.path='{tmp_path}/built benchmark' ray.executor=local"
    job = make_job(
        tmp_path,
        tiny_model_folder,
        speech,
        input={"manifest": {"short": build}},
        grid={"points": BLOCKS[1:2]},
        report={"slices": ["voice_group"]},
    )
    result = launch(job.config, job=SWEEP)
    assert result.code == 0, result.lines
    assert len(sweep_rows(job)) == 4 * 2
    assert {key[1] for key in sweep_rows(job)} == {"short"}


def without(column: str):
    return lambda rows: [{name: value for name, value in row.items() if name != column} for row in rows]


@pytest.mark.parametrize(
    ("change_items", "sections", "sentence"),
    [
        (None, {"grid": {"points": [{"method": "speechprun"}]}}, "did you mean speechprune?"),
        (None, {"grid": {"points": [{"method": "truncate", "rate": 0.2}]}}, "truncate has no setting rate"),
        (None, {"grid": {"points": []}}, "points is empty"),
        (without("answer"), {}, "no item has choices and a gold answer"),
        (None, {"report": {"slices": ["speaker"]}}, "report.slices: there is no column speaker"),
        (without("evidence_start"), {}, "report.slices: position needs column evidence_start"),
        (None, {"report": {"reference": {"method": "none"}}}, "report.reference"),
        (lambda rows: [row | {"point": 1} for row in rows], {}, "rename point"),
        (None, {"input": {"manifest": "nowhere.jsonl"}}, "nowhere.jsonl"),
        (None, {"report": {"slises": []}}, "did you mean report.slices?"),
        (None, {"grid": {"points": BLOCKS, "models": ["nowhere"]}}, "nowhere"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    tmp_path, tiny_model_folder, speech, change_items, sections, sentence
):
    job = make_job(tmp_path, tiny_model_folder, speech, **sections)
    if change_items:
        job.write_manifest(change_items(job.items()))
    result = launch(job.config, job=SWEEP)
    assert result.code == 2
    assert sentence in result.lines[-1]
    assert "\n" not in result.lines[-1]
    assert not job.files("ok")
