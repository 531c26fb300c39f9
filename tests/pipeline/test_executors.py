"""What every executor does with stages of all kinds, here without a model; on Ray workers are processes."""

import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial

import pyarrow as pa
import pytest
import ray

from speechprune.models.options import ModelOptions
from speechprune.pipeline.executor import LocalExecutor, Stages, make_executor
from speechprune.pipeline.failures import CodeError, FailureLog, StartError
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.ray_executor import RayExecutor
from speechprune.pipeline.stages import PROGRESS_SCHEMA, failed_recording
from speechprune.pipeline.tasks import TASK_SCHEMA, Tasks

MODEL = ModelOptions(path="no model")


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_address")
    return request.param


@pytest.fixture(scope="module", autouse=True)
def shipped() -> Iterable[None]:
    """Workers can't import this module."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def tasks_of(num: int) -> Tasks:
    rows = [
        dict.fromkeys(TASK_SCHEMA.names) | {"task_id": str(i), "audio": f"{i}.wav", "items": b""}
        for i in range(num)
    ]
    return Tasks.of(pa.Table.from_pylist(rows, TASK_SCHEMA))


def decode(task: pa.Table, **_) -> pa.Table:
    return failed_recording(task, ValueError("nothing to decode"))


def make_stage(**_):
    return lambda decoded: decoded.select(["task_id"])


def report(rows: pa.Table, error: BaseException | None = None) -> pa.Table:
    if error is not None:
        raise error
    row = {"num_ok": len(rows), "num_failed": 0, "num_recordings": len(rows), "audio_seconds": 0.0}
    return pa.Table.from_pylist([row | {"failures": []}], PROGRESS_SCHEMA)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (PermissionError("no place to write to"), StartError, "no place to write to"),
        (KeyError("a bug"), CodeError, "in report\n    raise error\nKeyError: 'a bug'"),
    ],
)
def test_what_leaves_a_stage_on_ray_is_a_line_or_a_traceback(ray_address, error, kind, sentence):
    stages = Stages(decode=decode, model=make_stage, write=partial(report, error=error), doing="passing")
    with pytest.raises(kind) as caught:
        RayExecutor(RayOptions(), MODEL).run(stages, tasks_of(1), Progress(1))
    assert sentence in str(caught.value)


# code that fails, not data


def make_odd(*, failures: FailureLog, odd: Callable[[str], bool], **_):
    """A stage that meets a bug in some recordings, and goes on."""

    def stage(decoded: pa.Table) -> pa.Table:
        for task_id in decoded.column("task_id").to_pylist():
            outcome = None
            try:
                if odd(task_id):
                    raise TypeError("an odd recording")
            except TypeError as error:
                outcome = error
            failures.note("answering", task_id, [outcome])
        return decoded.select(["task_id"])

    return stage


def run_odd(executor: str, num: int, odd: Callable[[str], bool], progress: Progress) -> list[dict]:
    options = RayOptions(executor=executor, recordings_per_block=2)
    stages = Stages(decode=decode, model=partial(make_odd, odd=odd), write=report, doing="passing")
    return make_executor(options, MODEL).run(stages, tasks_of(num), progress)


@pytest.mark.parametrize(
    ("num", "sentence"),
    [(7, "3 recordings in a row failed by the same TypeError at "), (2, "all 2 recordings met the same")],
)
def test_a_bug_ends_the_run_with_its_traceback(executor, num, sentence):
    with pytest.raises(CodeError) as caught:
        run_odd(executor, num, lambda task_id: True, Progress(num))
    assert 'raise TypeError("an odd recording")' in caught.value.traceback
    assert sentence in caught.value.sentence


def test_what_one_recording_met_is_logged_once_and_every_task_passes_all_stages(executor, log_lines):
    progress = Progress(7)
    reports = run_odd(executor, 7, lambda task_id: task_id == "1", progress)
    assert sum(one["num_ok"] for one in reports) == progress.throughput()["num_items"] == 7
    (line,) = [line for line in log_lines if "Traceback" in line]
    assert 'raise TypeError("an odd recording")' in line


def test_calls_take_handles_for_values(executor):
    spread = make_executor(RayOptions(executor=executor), MODEL)
    first = spread.submit(multiply, spread.put(3), 2)
    assert spread.get(spread.submit(multiply, first, 5)) == 30


def multiply(a: int, b: int) -> int:
    return a * b


def die() -> None:
    signal.raise_signal(signal.SIGKILL)


def test_a_call_that_kills_its_worker_has_no_result(ray_address):
    spread = RayExecutor(RayOptions(), MODEL)
    assert spread.get_or_none(spread.submit(die, cpus=0, retry=False), timeout_seconds=60.0) is None


def test_ctrl_c_reaches_the_caller():
    def interrupt(rows: pa.Table) -> pa.Table:
        raise KeyboardInterrupt

    stages = Stages(decode=decode, model=make_stage, write=interrupt, doing="passing")
    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(RayOptions(executor="local"), MODEL).run(stages, tasks_of(1), Progress(1))
