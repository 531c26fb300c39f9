"""Ray as all jobs start it, and what it says when it can't go on."""

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

from speechprune.pipeline.failures import StartError

REACH_SECONDS = 5.0
LOST = re.compile("its node has died|NodeDiedError|LocalRayletDiedError|OwnerDiedError|ObjectLostError")
WRAPPED = "The above exception was the direct cause of the following exception:"


def start_ray() -> None:
    """Join the cluster of RAY_ADDRESS or of this machine, or start one here; without its chatter."""
    warnings.filterwarnings("ignore", module="ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not ray.is_initialized():
        ray.init(cluster_to_join(), log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        atexit.register(ray.shutdown)  # comes before Ray's own, which sleeps for half a second first
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # three hours of audio may well take half an hour
    logging.getLogger("ray.data").setLevel(logging.ERROR)


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
    told = cause if "UserCodeException" in wrapped else str(error)  # which only says that code failed
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return re.sub(r"^[\w.]+Error: ", "", lines[-1]) if lines else type(error).__name__
