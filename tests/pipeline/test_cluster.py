"""The job as a cluster runs it: submitted to a head node, everything in object storage."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import s3fs

from speechprune import storage
from speechprune.pipeline.run_store import RunStore
from tests.helpers.harness import JOB, Job, Launch, wait_until, write_sound

RAY = str(Path(sys.executable).with_name("ray"))
CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]
NUM_RECORDINGS = 16


@dataclass(frozen=True)
class Head:
    """A head node; commands for it need its environment."""

    environment: dict[str, str]

    def submit(self, *arguments: str, options: Sequence[str] = (), job: str = str(JOB)) -> Launch:
        """``ray job submit`` of the job."""
        return self.ray_job("submit", *options, "--", sys.executable, job, *arguments)

    def ray_job(self, *arguments: str) -> Launch:
        """``ray job ...``."""
        done = subprocess.run(
            [RAY, "job", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        return Launch(done.returncode, done.stdout.splitlines())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def head(s3_environment) -> Iterable[Head]:
    """A Ray of its own, with a token: a dashboard runs whatever it is sent."""
    home = Path(tempfile.mkdtemp(prefix="ray"))  # not tmp_path: paths of sockets must be short
    dashboard_port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= s3_environment | {
        "HOME": str(home),  # its token and its cache of models
        "RAY_AUTH_MODE": "token",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard_port}",
    }
    subprocess.run([RAY, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", "--port=0", "--disable-usage-stats"]
    command += [f"--temp-dir={home}/ray", "--object-store-memory=200000000", "--include-log-monitor=false"]
    command += [f"--dashboard-port={dashboard_port}", f"--dashboard-agent-listen-port={free_port()}"]
    command += [f"--ray-client-server-port={free_port()}"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    started = home / "ray/ray_current_cluster"
    try:
        wait_until(lambda: started.exists() or process.poll() is not None)
        assert process.poll() is None, (home / "log").read_text()
        yield Head(environment)
    finally:
        started_here = [process, *psutil.Process(process.pid).children(recursive=True)]
        for one in started_here:  # a SIGTERM would let it drain for half a minute
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def stored_job(tmp_path, tiny_model_folder, speech, bucket) -> Job:
    """Manifest, audio, model and output all in the bucket; the config here. One recording per block."""
    job = Job(tmp_path)
    sounds = [write_sound(tmp_path / f"{i}.wav", speech(2.0, 2.0 * i)) for i in range(NUM_RECORDINGS)]
    job.write(
        [
            {"item_id": sound, "audio": f"sounds/{sound}", "question": "Which day?", "choices": CHOICES}
            for sound in [*sounds, "gone.wav"]
        ],
        f"s3://{bucket}/models/tiny",
        input={"manifest": f"s3://{bucket}/manifest.jsonl"},
        output={"path": f"s3://{bucket}/run", "max_failed_fraction": 0.01},
        ray={"executor": "ray", "recordings_per_block": 1},
    )
    s3 = s3fs.S3FileSystem()
    s3.put(tiny_model_folder, f"{bucket}/models/tiny", recursive=True)
    s3.put(str(tmp_path / "manifest.jsonl"), f"{bucket}/manifest.jsonl")
    for sound in sounds:
        s3.put(str(tmp_path / sound), f"{bucket}/sounds/{sound}")
    return job


@pytest.fixture
def shipped_code(tmp_path) -> Path:
    """A copy of the code whose driver and whose workers report where they come from."""
    folder = tmp_path / "shipped"
    for name in ("jobs", "speechprune"):
        ignored = shutil.ignore_patterns("__pycache__", "demo")
        shutil.copytree(JOB.parents[1] / name, folder / name, ignore=ignored)
    for file, message, marked in [
        ("pipeline/batch_qa.py", "to do: {}", "to do, as shipped: {}"),
        ("audio/container.py", "{name} does not exist", "{name} was shipped nowhere"),
    ]:
        path = folder / "speechprune" / file
        assert message in path.read_text()
        path.write_text(path.read_text().replace(message, marked))
    return folder


@pytest.mark.timeout(600)  # two submitted jobs
def test_a_stopped_job_is_continued_by_code_shipped_with_it_and_gives_the_librarys_answers(
    stored_job, head, bucket, shipped_code, tiny_lm, s3_environment
):
    """One of its recordings is missing, so its exit code is 1."""
    run = RunStore(f"s3://{bucket}/run")
    submitted = head.submit(stored_job.config, options=["--no-wait", "--submission-id", "to-be-stopped"])
    assert submitted.code == 0
    wait_until(lambda: len(storage.files_in(f"{run.path}/answers/status=ok", ".parquet")) > 2, 240)
    assert head.ray_job("stop", "to-be-stopped").code == 0
    assert len(storage.files_in(f"{run.path}/answers/status=ok", ".parquet")) < NUM_RECORDINGS
    result = head.submit(
        stored_job.config, options=["--working-dir", str(shipped_code)], job="jobs/batch_qa.py"
    )
    assert result.code == 1, result.lines
    assert any("to do, as shipped" in line for line in result.lines)
    [failed] = run.read_answers("failed", ["item_id", "error"]).to_pylist()
    assert failed["item_id"] == "gone.wav"
    assert "was shipped nowhere" in failed["error"]

    columns = ["item_id", "audio", "prediction", "choice_probabilities", "num_kept_tokens"]
    rows = run.read_answers("ok", columns).to_pylist()
    assert len({row["item_id"] for row in rows}) == len(rows) == NUM_RECORDINGS
    for row in rows:
        answer = tiny_lm.answer(str(stored_job.folder / row["item_id"]), "Which day?", CHOICES)
        assert row["audio"] == f"s3://{bucket}/sounds/{row['item_id']}"
        assert row["prediction"] == answer.prediction
        assert row["num_kept_tokens"] == answer.num_kept_tokens
        np.testing.assert_allclose(row["choice_probabilities"], answer.choice_probabilities, atol=1e-5)

    s3 = s3fs.S3FileSystem()
    written = {file: s3.cat_file(file) for file in s3.find(f"{bucket}/run")}
    assert {file.rsplit("/", 1)[-1] for file in written} >= {"run.json", "summary.json"}
    secrets = (s3_environment["AWS_SECRET_ACCESS_KEY"], s3_environment["AWS_ACCESS_KEY_ID"])
    for secret in secrets:
        assert not any(secret.encode() in data for data in written.values())
        assert not any(secret in line for line in result.lines)
        for file in written:
            if file.endswith(".parquet"):
                with storage.open_binary(f"s3://{file}", block_bytes=1 << 20) as handle:
                    assert secret not in str(pq.read_table(handle).to_pylist())
