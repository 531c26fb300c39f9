"""One Ray for all jobs of the session."""

import logging
import signal
from collections.abc import Callable, Iterable

import pytest
import ray
from harness import JobProcess

NUM_CPUS = 2


@pytest.fixture(scope="session")
def ray_address() -> Iterable[str]:
    """A cluster of two CPUs on this machine, which this process has joined."""
    ray.init(
        "local",
        num_cpus=NUM_CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=300_000_000,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def job_process(ray_address) -> Iterable[Callable[..., JobProcess]]:
    """``job_process(config, *overrides)``: a process that is gone when the test ends."""
    processes = []

    def start(*arguments: str, environment: dict[str, str] | None = None) -> JobProcess:
        processes.append(JobProcess(list(arguments), {"RAY_ADDRESS": ray_address, **(environment or {})}))
        return processes[-1]

    yield start
    for process in processes:
        process.send(signal.SIGKILL)
        process.wait()
