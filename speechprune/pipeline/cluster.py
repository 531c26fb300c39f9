"""Start of Ray for all jobs, and one line for an error that ends a worker."""

from __future__ import annotations

import atexit
import logging
import os
import re
import socket
import warnings

import ray
from loguru import logger
from ray._private.services import find_bootstrap_address
from ray._private.state import actors
from ray.exceptions import AuthenticationError

from speechprune.pipeline.failures import StartError

REACH_SECONDS = 5.0
WRONG_TOKEN = "InvalidAuthToken"  # in what Ray wraps into a ConnectionError
NO_TOKEN = (
    "this Ray cluster asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token "
    "(or write that to ~/.ray/auth_token)"
)
LOST = re.compile("its node has died|NodeDiedError|LocalRayletDiedError|OwnerDiedError|ObjectLostError")
WRAPPED = "The above exception was the direct cause of the following exception:"


def start_ray() -> None:
    """Join the cluster of RAY_ADDRESS or of this machine, or start one here; without its chatter.

    Raises
    ------
    StartError
        Ray can't be joined or started.
    """
    warnings.filterwarnings("ignore", module="ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not ray.is_initialized():
        _init_ray(cluster_to_join())
        atexit.register(ray.shutdown)  # comes before Ray's own, which sleeps for half a second first
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # three hours of audio may well take half an hour
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _announce_ray()


def _init_ray(address: str | None) -> None:
    """``ray.init``, whose failures of every kind become one line."""
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except Exception as error:  # a node that starts too slowly raises no kind of its own
        if isinstance(error, AuthenticationError) or WRONG_TOKEN in f"{error} {error.__cause__}":
            raise StartError(NO_TOKEN) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        where = f"joined at {address}" if address not in (None, "local") else "started or joined"
        raise StartError(f"Ray can't be {where}: {reason}") from error


def _announce_ray() -> None:
    """Say which Ray this is, and what it has."""
    context, resources = ray.get_runtime_context(), ray.cluster_resources()
    num_nodes = sum(node["Alive"] for node in ray.nodes())
    logger.info(
        "Ray {} at {}: {:,} node{}, {:g} CPUs, {:g} GPUs",
        ray.__version__,
        context.gcs_address,
        num_nodes,
        "" if num_nodes == 1 else "s",
        resources.get("CPU", 0),
        resources.get("GPU", 0),
    )


def num_alive_actors(class_name: str) -> int:
    """Actors of Ray Data that run such a class, in this job."""
    job_id = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    alive = actors(job_id=job_id, actor_state_name="ALIVE")
    return sum(f"({class_name})" in actor["ActorClassName"] for actor in alive.values())


def cluster_to_join() -> str | None:
    """Where, or None for Ray's own choice; for a cluster that is gone Ray would wait without a word.

    Raises
    ------
    StartError
        RAY_ADDRESS names a place where nothing answers.
    """
    named = os.environ.get("RAY_ADDRESS")
    address = named or find_bootstrap_address(None)  # of the last that was started on this machine
    host, _, port = (address or "").rpartition(":")
    if not port.isdecimal() or "/" in host:
        return None  # none, "auto", "local", or a client's URL
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except OSError as error:
        if named:
            raise StartError(f"no Ray answers at RAY_ADDRESS={named} ({error}): is it running?") from error
        logger.info("the Ray that last ran on this machine is gone: another is started")
        return "local"
    return None


def root_cause(error: BaseException) -> str:
    """The last line of what a worker died of, without the name of the exception's class."""
    if LOST.search(f"{type(error).__name__}\n{error}"):  # whose last lines are addresses, or a node's log
        return "the cluster lost a process or node that held this job's state: give the same command again"
    cause, _, wrapped = str(error).rpartition(WRAPPED)
    text = cause if "UserCodeException" in wrapped else str(error)  # which only says that code failed
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^[\w.]+Error: ", "", lines[-1]) if lines else type(error).__name__
