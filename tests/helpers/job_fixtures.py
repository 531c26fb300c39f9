"""Fixtures of the tests that run jobs: one Ray and one object store for the session."""

import gc
import logging
import signal
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import ray
import s3fs
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster

from tests.helpers.archive import Archive
from tests.helpers.harness import JOB, JobProcess

NUM_CPUS = 2


@pytest.fixture(scope="session")
def s3_environment() -> Iterable[dict[str, str]]:
    """Variables that lead to a real S3 API, as boto reads them; they hold for this process too."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLEKEY",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIsecretEXAMPLE",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # none that was made for another endpoint
        yield environment
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def s3_bucket(s3_environment) -> Any:
    """An empty bucket of its own, as boto3 has it."""
    return boto3.resource("s3", endpoint_url=s3_environment["AWS_ENDPOINT_URL"]).create_bucket(
        Bucket=f"bucket-{uuid.uuid4().hex}"
    )


@pytest.fixture(scope="session")
def ray_cluster(s3_environment) -> Iterable[Cluster]:
    """One node with two CPUs, which this process has joined; its workers know the store."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": NUM_CPUS,
            "include_dashboard": False,
            "include_log_monitor": False,
            "object_store_memory": 300_000_000,
            "_system_config": {"metrics_report_interval_ms": 1000},  # a test would wait ten seconds for it
        },
        shutdown_at_exit=False,
    )
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def ray_address(ray_cluster) -> str:
    """The address of the cluster."""
    return ray_cluster.address


@pytest.fixture(autouse=True)
def cpus_free_again(request) -> Iterable[None]:
    """A run that failed: its exception refers to its actors, which hold their CPUs until it is collected."""
    yield
    if request.node.get_closest_marker("ray"):
        gc.collect()


@pytest.fixture
def two_nodes(ray_cluster) -> Iterable[None]:
    """The cluster has another node of two CPUs, as long as the test runs."""
    node = ray_cluster.add_node(num_cpus=NUM_CPUS)
    yield
    ray_cluster.remove_node(node)


@pytest.fixture
def job_process(tmp_path_factory) -> Iterable[Callable[..., JobProcess]]:
    """``job_process(config, *overrides, job=script)``: it is gone when the test ends."""
    processes = []

    def start(*arguments: str, job: Path = JOB) -> JobProcess:
        output = tmp_path_factory.mktemp("job") / "output"
        processes.append(JobProcess([str(job), *arguments], output))
        return processes[-1]

    yield start
    for process in processes:
        process.send(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def bucket(request, s3_environment) -> str:
    """The name of an empty bucket; servers of one process share their buckets."""
    name = request.module.__name__.replace("_", "-")
    s3fs.S3FileSystem().mkdir(name)
    return name


@pytest.fixture
def archive(tmp_path, tiny_model_folder) -> Archive:
    """Without recordings yet; its config indexes it on disk."""
    (tmp_path / "sounds").mkdir()
    archive = Archive(tmp_path, tiny_model_folder)
    archive.configure(str(archive.sounds), archive.index)
    return archive


@pytest.fixture
def short_codes(monkeypatch):
    """Make codes of a search index short: they are learned in less time."""
    for name, value in (("CODE_BYTES", 4), ("_ENTRY_BYTES", 8), ("_NO_CODES", np.zeros((0, 4), np.uint8))):
        monkeypatch.setattr(f"speechprune.data.inverted_lists.{name}", value)
    monkeypatch.setattr("speechprune.data.token_codec.CODE_BYTES", 4)
