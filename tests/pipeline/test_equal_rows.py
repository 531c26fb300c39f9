"""One run, two executors: the same rows; without Ray nothing of Ray is imported."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import yaml

from speechprune.pipeline.retries import PoisonGuard, guard_decode, guard_write
from tests.helpers.archive import NIGHT
from tests.helpers.harness import JOB, Job, Launch, launch, write_sound
from tests.helpers.job_items import bad_items, good_items

SEARCH = JOB.parent / "search_archive.py"


def without_measures(rows: dict[str, dict]) -> dict[str, dict]:
    """All that is the same twice."""
    return {
        name: {
            column: value
            for column, value in row.items()
            if not column.startswith("seconds_") and column not in ("peak_memory_bytes", "finished_at")
        }
        for name, row in rows.items()
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech) -> Job:
    job = Job(tmp_path_factory.mktemp("executors"))
    items = [*good_items(job.folder, speech), *bad_items(job.folder, speech)]
    job.write(
        items,
        tiny_model_folder,
        ray={"recordings_per_block": 3},
        answering={"max_new_tokens": 3, "no_audio_baseline": True},
        output={"max_failed_fraction": 1},
    )
    return job


@pytest.fixture(scope="module")
def datasets() -> list[ray.data.Dataset]:
    """What the launch on Ray pulled its answers through."""
    return []


@pytest.fixture(scope="module")
def launch_on_ray(job, ray_address, datasets) -> Launch:
    pull = ray.data.Dataset.iter_batches

    def record(dataset: ray.data.Dataset, **options):
        datasets.append(dataset)
        return pull(dataset, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray.data.Dataset, "iter_batches", record)
        return launch(job.config, executor="ray")


def test_rows_are_the_same_from_both(job, launch_on_ray):
    assert launch_on_ray.code == 0
    assert launch(job.config, f"output.path={job.folder}/local").code == 0
    local = replace(job, run_name="local")
    for status in ("ok", "failed"):
        rows = without_measures(job.rows(status))
        assert rows == without_measures(local.rows(status))
        assert len(rows) >= 6


def test_decoding_is_not_fused_into_the_stage_that_answers(launch_on_ray, datasets):
    """Fused, it would run in the actor, which would wait for it."""
    (dataset,) = datasets
    operators = re.findall(r"^Operator \d+ (MapBatches\S+):", dataset.stats(), re.MULTILINE)
    stages = [stage.__name__ for stage in (guard_decode, PoisonGuard, guard_write)]
    assert operators == [f"MapBatches({stage})" for stage in stages]


def test_it_is_said_which_ray_runs_the_job(launch_on_ray, ray_address):
    assert f"Ray {ray.__version__} at {ray_address}: 1 node, 2 CPUs, 0 GPUs" in launch_on_ray.lines


def test_the_local_executor_needs_no_ray(job, job_process, tmp_path):
    without_ray = tmp_path / "without_ray.py"
    without_ray.write_text(
        "import sys\n"
        "assert 'ray' not in sys.modules  # imported before the job is forked\n"
        "sys.modules['ray'] = None  # whoever imports it fails\n"
        f"sys.path.insert(0, {str(JOB.parent)!r})\n"
        "import batch_qa; sys.exit(batch_qa.main(sys.argv[1:]))"
    )
    result = job_process(job.config, f"output.path={job.folder}/without_ray", job=without_ray).wait()
    assert result.code == 0, result.lines
    assert any("in this process, without Ray" in line for line in result.lines)
    assert list(Path(job.folder, "without_ray/answers/status=ok").iterdir())


def test_a_column_of_any_name_is_carried(tmp_path, tiny_model_folder, speech):
    carried = {"lacked_points": "mine", "missing_points": ["x"], "problem": 3, "stored": True}
    job = Job(tmp_path)
    job.write([item | carried for item in good_items(tmp_path, speech)], tiny_model_folder)
    assert launch(job.config).code == 0
    for row in job.rows("ok").values():
        assert {name: row[name] for name in carried} == carried


def test_a_search_is_the_same_from_both(archive, speech, ray_address):
    for number in range(3):
        write_sound(archive.sounds / f"{number}.wav", speech(4.0, start=9.0 * number))
    assert launch(archive.config, job=NIGHT).code == 0
    settings = yaml.safe_load(Path(archive.config).read_text())
    search = archive.folder / "search.yaml"
    search.write_text(yaml.safe_dump({name: settings[name] for name in ("model", "answering")}))
    hits = []
    for executor in ("local", "ray"):
        run = archive.folder / f"search-{executor}"
        arguments = [
            str(search),
            "When is the review?",
            f"search.index={archive.index}",
            f"output.path={run}",
        ]
        assert launch(*arguments, job=SEARCH, executor=executor).code == 0
        hits.append(pq.read_table(run / "hits.parquet"))
    np.testing.assert_allclose(*(some.column("score").to_numpy() for some in hits), rtol=1e-6)  # sums differ
    exact = [some.drop_columns(["score", "similarity"]).to_pylist() for some in hits]
    assert exact[0] == exact[1]
    assert [hit["prediction"] is not None for hit in exact[0]] == [True] * 3
