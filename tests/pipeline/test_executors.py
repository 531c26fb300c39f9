"""One run, two executors: the same rows; without Ray nothing of Ray is imported; bugs end both."""

import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import yaml

from speechprune import SpeechPrune
from speechprune.models.options import ModelOptions
from speechprune.pipeline.executor import LocalExecutor, Stages, make_executor
from speechprune.pipeline.failures import CodeError, StartError
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.ray_executor import RayExecutor
from speechprune.pipeline.retries import PoisonGuard, guard_decode, guard_write
from speechprune.pipeline.stages import PROGRESS_SCHEMA, failed_recording
from speechprune.pipeline.tasks import TASK_SCHEMA
from speechprune.pruning import METHODS, PruningInputs, PruningResult
from tests.helpers.archive import NIGHT, rows_of
from tests.helpers.harness import JOB, Job, Launch, launch, write_sound
from tests.helpers.job_items import bad_items, good_items

SEARCH = JOB.parent / "search_archive.py"
MODEL = ModelOptions(path="no model")


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


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_address")
    return request.param


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


def test_the_local_executor_needs_no_ray(job):
    program = (
        "import sys; sys.modules['ray'] = None\n"  # whoever imports it fails
        f"sys.path.insert(0, {str(JOB.parent)!r})\n"
        "import batch_qa; sys.exit(batch_qa.main(sys.argv[1:]))"
    )
    arguments = [job.config, f"output.path={job.folder}/without_ray"]
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "in this process, without Ray" in run.stderr
    assert list(Path(job.folder, "without_ray/answers/status=ok").iterdir())


def test_a_column_of_any_name_is_carried(tmp_path, tiny_model_folder, speech):
    carried = {"lacked_points": "mine", "missing_points": ["x"], "problem": 3, "stored": True}
    job = Job(tmp_path)
    job.write([item | carried for item in good_items(tmp_path, speech)], tiny_model_folder)
    assert launch(job.config).code == 0
    for row in job.rows("ok").values():
        assert {name: row[name] for name in carried} == carried


def test_an_index_and_a_search_in_it_are_the_same_from_both(archive, speech, ray_address):
    for number in range(3):
        write_sound(archive.sounds / f"{number}.wav", speech(4.0, start=9.0 * number))
    settings = yaml.safe_load(Path(archive.config).read_text())
    search = archive.folder / "search.yaml"
    search.write_text(yaml.safe_dump({name: settings[name] for name in ("model", "answering")}))
    hits, windows = {}, {}
    for executor in ("local", "ray"):
        index, run = archive.folder / f"index-{executor}", archive.folder / f"search-{executor}"
        assert launch(archive.config, f"index.path={index}", job=NIGHT, executor=executor).code == 0
        windows[executor] = rows_of(str(index))
        arguments = [str(search), "When is the review?", f"search.index={index}", f"output.path={run}"]
        assert launch(*arguments, job=SEARCH, executor=executor).code == 0
        hits[executor] = pq.read_table(run / "hits.parquet")
    assert len(windows["local"]) == 3
    assert windows["local"] == windows["ray"]
    scores = [some.column("score").to_numpy() for some in hits.values()]
    np.testing.assert_allclose(*scores, rtol=1e-6)  # sums differ with the number of threads
    exact = [some.drop_columns(["score", "similarity"]).to_pylist() for some in hits.values()]
    assert exact[0] == exact[1]
    assert [hit["prediction"] is not None for hit in exact[0]] == [True] * 3


# code that fails, not data


def failed_items(run: Path) -> dict[str, str]:
    """Types of the errors by item."""
    files = (run / "answers/status=failed").iterdir()
    rows = [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
    return {row["item_id"]: row["error_type"] for row in rows}


@dataclass(frozen=True, kw_only=True)
class BrokenMethod(SpeechPrune):
    """A pruning method with a bug."""

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        return "many" + num_kept


@dataclass(frozen=True, kw_only=True)
class OddMethod(SpeechPrune):
    """A pruning method that one recording's questions trip up."""

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        if inputs.item_id.startswith("short"):
            raise TypeError("an odd recording")
        return super().keep(inputs, num_kept)


@pytest.fixture
def broken(monkeypatch):
    """``broken(Method)`` puts it in the place of the default method, in workers too."""

    def put(method: type[SpeechPrune]) -> None:
        monkeypatch.setitem(METHODS, "speechprune", method)

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import this module
    yield put
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_bug_in_a_method_ends_the_job_with_its_traceback(job, broken, executor):
    broken(BrokenMethod)
    run = f"output.path={job.folder}/broken-{executor}"
    result = launch(job.config, run, "ray.recordings_per_block=1", executor=executor)
    assert result.code == 1
    assert 'return "many" + num_kept' in result.lines[-1]
    assert "TypeError: can only concatenate str" in result.lines[-1]
    assert "3 recordings in a row failed by the same TypeError at " in result.lines[-1].splitlines()[-1]


def test_so_does_one_that_all_of_a_few_recordings_met_after_their_rows_are_written(job, broken, executor):
    broken(BrokenMethod)
    result = launch(
        job.config, f"output.path={job.folder}/few-{executor}", "input.limit=3", executor=executor
    )
    assert result.code == 1
    sentence = result.lines[-1].splitlines()[-1]
    assert sentence.startswith("the job ends: all 2 recordings met the same TypeError")
    assert failed_items(job.folder / f"few-{executor}") == dict.fromkeys(
        ["short-1", "short-2", "long-1"], "TypeError"
    )


def test_one_odd_recording_is_failed_rows_and_one_traceback(job, broken, executor):
    broken(OddMethod)
    run = f"output.path={job.folder}/odd-{executor}"
    result = launch(job.config, run, "input.limit=6", executor=executor)
    assert result.code == 0
    tracebacks = [line for line in result.lines if "Traceback" in line]
    assert len(tracebacks) == 1
    assert 'raise TypeError("an odd recording")' in tracebacks[0]
    assert failed_items(job.folder / f"odd-{executor}") == dict.fromkeys(["short-1", "short-2"], "TypeError")


# stages of all kinds, without a model


def tasks_of(num: int) -> pa.Table:
    rows = [
        dict.fromkeys(TASK_SCHEMA.names) | {"task_id": str(i), "audio": f"{i}.wav", "items": b""}
        for i in range(num)
    ]
    return pa.Table.from_pylist(rows, TASK_SCHEMA)


def decode(task: pa.Table, **_) -> pa.Table:
    return failed_recording(task, ValueError("nothing to decode"))


def make_stage(**_):
    return lambda decoded: decoded.select(["task_id"])


def report(rows: pa.Table, error: BaseException | None = None) -> pa.Table:
    if error is not None:
        raise error
    row = {"num_ok": len(rows), "num_failed": 0, "num_recordings": len(rows), "audio_seconds": 0.0}
    return pa.Table.from_pylist([row | {"failures": []}], PROGRESS_SCHEMA)


def test_every_task_passes_all_stages_and_is_reported(broken, executor):
    stages = Stages(decode=decode, model=make_stage, write=report, doing="passing")
    progress = Progress(7)
    reports = make_executor(RayOptions(executor=executor), MODEL).run(stages, tasks_of(7), progress)
    assert sum(one["num_ok"] for one in reports) == progress.throughput()["num_items"] == 7


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (PermissionError("no place to write to"), StartError, "no place to write to"),
        (KeyError("a bug"), CodeError, "in report\n    raise error\nKeyError: 'a bug'"),
    ],
)
def test_what_leaves_a_stage_on_ray_is_a_line_or_a_traceback(ray_address, broken, error, kind, sentence):
    stages = Stages(decode=decode, model=make_stage, write=partial(report, error=error), doing="passing")
    with pytest.raises(kind) as caught:
        RayExecutor(RayOptions(), MODEL).run(stages, tasks_of(1), Progress(1))
    assert sentence in str(caught.value)


def test_calls_take_handles_for_values(broken, executor):
    spread = make_executor(RayOptions(executor=executor), MODEL)
    first = spread.submit(multiply, spread.put(3), 2)
    assert spread.get(spread.submit(multiply, first, 5)) == 30


def multiply(a: int, b: int) -> int:
    return a * b


def die() -> None:
    signal.raise_signal(signal.SIGKILL)


def test_a_call_that_kills_its_worker_has_no_result(ray_address, broken):
    spread = RayExecutor(RayOptions(), MODEL)
    assert spread.get_or_none(spread.submit(die, cpus=0, retry=False)) is None


def test_ctrl_c_reaches_the_caller(broken):
    def interrupt(rows: pa.Table) -> pa.Table:
        raise KeyboardInterrupt

    stages = Stages(decode=decode, model=make_stage, write=interrupt, doing="passing")
    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(RayOptions(executor="local"), MODEL).run(stages, tasks_of(1), Progress(1))
