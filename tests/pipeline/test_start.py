"""What can't be run says so in one line and exits with 2; where it can be known, before any worker starts."""

import os
import re
import shutil
import socket
from pathlib import Path

import pytest
import ray
from ray.exceptions import AuthenticationError, ObjectLostError, RayError

from speechprune.pipeline import batch_qa
from speechprune.pipeline.cluster import NO_TOKEN, cluster_to_join, root_cause
from speechprune.pipeline.failures import StartError
from speechprune.pipeline.lease import Lease
from speechprune.storage import StorageError
from tests.helpers.harness import Job, launch, write_sound

ITEM = {"audio": "a.wav", "question": "Who?", "choices": ["Anna", "Bert"]}


@pytest.fixture
def job(tmp_path, tiny_model_folder, speech) -> Job:
    write_sound(tmp_path / "a.wav", speech(1.0))
    job = Job(tmp_path)
    job.write([ITEM], tiny_model_folder)
    return job


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{folder}/none.yaml"], "config .*none.yaml can't be read"),
        (["{config}", "{config}"], "give one config file"),
        (["{config}", "pruning.rate=1"], "unknown key pruning.rate: did you mean pruning.pruning_rate"),
        (["{config}", "pruning.pruning_rate=1"], "pruning.pruning_rate is 1"),
        (["{config}", "input.manifest={folder}/none.jsonl"], "none.jsonl does not exist"),
        (["{config}", "input.manifest={folder}/empty.jsonl"], "has no rows"),
        (["{config}", "input.manifest={folder}/one_choice.jsonl"], "row 1: choices is .*give a list of 2"),
        (["{config}", "model.path={folder}/nowhere"], "model.path .*nowhere does not exist"),
        (["{config}", "model.path={folder}"], "holds no config.json"),
        (["{config}", "model.path={folder}/no_weights"], "holds no weights"),
        (["{config}", "output.path={folder}/a.wav/run"], "output.path .*a.wav/run"),
        (["{config}", "output.path=gopher://host/run"], "no way to open gopher://"),
    ],
)
def test_refused_in_one_line_before_any_worker(
    job, monkeypatch, tiny_model_folder, arguments, sentence, capsys
):
    monkeypatch.setattr(batch_qa, "make_executor", lambda *_: pytest.fail("an executor was made"))
    (job.folder / "empty.jsonl").write_text("\n")
    (job.folder / "one_choice.jsonl").write_text('{"audio": "a.wav", "question": "?", "choices": ["x"]}')
    copy_model(tiny_model_folder, job.folder / "no_weights").unlink()
    places = {"folder": str(job.folder), "config": job.config}
    given = [argument.format(**places) for argument in arguments]
    result = launch(*given)
    assert result.code == 2
    (line,) = result.lines
    assert "\n" not in line
    assert re.search(sentence, line)
    planned = launch(*given, "--dry-run")
    assert planned.code == 2
    assert re.search(sentence, "".join(planned.lines) + capsys.readouterr().out)


@pytest.mark.parametrize("overrides", [[], ["pruning.pruning_rate=0.4"]], ids=["equal", "other"])
def test_a_second_launch_is_refused_in_one_line_before_any_worker(job, monkeypatch, overrides):
    monkeypatch.setattr(batch_qa, "make_executor", lambda *_: pytest.fail("an executor was made"))
    with Lease(str(job.run), 1):
        result = launch(job.config, *overrides)
    assert result.code == 2
    (line,) = result.lines
    assert line.startswith(f"another run writes to {job.run}: process {os.getpid()} on ")
    assert "\n" not in line
    assert not (job.run / "run.json").exists()


def test_weights_that_workers_can_not_load_end_the_job_in_one_line(job, ray_address, tiny_model_folder):
    weights = copy_model(tiny_model_folder, job.folder / "cut_model")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100] + bytes(100) + whole[200:])  # its list of tensors is damaged
    result = launch(job.config, f"model.path={job.folder}/cut_model", executor="ray")
    assert result.code == 2
    assert f"model {job.folder}/cut_model can't be loaded: " in result.lines[-1]
    assert "\n" not in result.lines[-1]


def copy_model(source: str, target: Path) -> Path:
    """A copy of a model folder; its weights file."""
    shutil.copytree(source, target)
    return target / "model.safetensors"


def test_a_cluster_that_lost_a_node_is_told_from_a_job_that_is_wrong():
    of_a_node = RuntimeError(
        "The actor died because its node has died. Node Id: ff\n[state-dump] DebugString()"
    )
    for error in (ObjectLostError("ff" * 28, None, "somewhere"), of_a_node):
        assert root_cause(error).endswith("give the same command again")
    assert root_cause(RuntimeError("first\nModelError: no weights")) == "no weights"


def test_a_stage_that_fails_says_why_and_not_how_rays_retries_are_set(ray_address):
    def refuse(batch):
        raise StorageError("s3://bucket/run: Forbidden. Check your credentials")

    with pytest.raises(RayError) as caught:
        ray.data.range(1).map_batches(refuse).take_all()
    assert root_cause(caught.value) == "s3://bucket/run: Forbidden. Check your credentials"


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (
            Exception("The current node timed out\nduring startup"),
            "Ray can't be started or joined: The current",
        ),
        (AuthenticationError("no authentication token was found"), NO_TOKEN),
        (ConnectionError("Failed to connect to Ray cluster"), NO_TOKEN),
    ],
    ids=["slow", "no token", "wrong token"],
)
def test_a_ray_that_does_not_start_or_refuses_is_told_in_one_line(job, monkeypatch, raised, sentence):
    if isinstance(raised, ConnectionError):
        raised.__cause__ = RuntimeError("Unauthenticated: RPC error: InvalidAuthToken")

    def refuse(*_, **__):
        raise raised

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    result = launch(job.config, executor="ray")
    assert result.code == 2
    assert result.lines[-1].startswith(sentence)
    assert "\n" not in result.lines[-1]


@pytest.fixture
def nowhere() -> str:
    """An address of this machine at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def test_a_cluster_that_is_named_and_does_not_answer_is_told_in_one_line(monkeypatch, nowhere):
    monkeypatch.setenv("RAY_ADDRESS", nowhere)
    with pytest.raises(StartError, match=f"no Ray answers at RAY_ADDRESS={nowhere}"):
        cluster_to_join()


def test_a_cluster_that_was_left_for_dead_on_this_machine_is_not_waited_for(monkeypatch, nowhere):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("speechprune.pipeline.cluster.find_bootstrap_address", lambda _: nowhere)
    assert cluster_to_join() == "local"


@pytest.mark.parametrize("address", ["auto", "local", "ray://host:10001", ""])
def test_other_addresses_are_rays_to_understand(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("speechprune.pipeline.cluster.find_bootstrap_address", lambda _: None)
    assert cluster_to_join() is None


def test_one_that_answers_is_joined(monkeypatch, ray_address):
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    assert cluster_to_join() is None
