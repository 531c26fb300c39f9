"""The faults, one function each, and the comparison of a run under a fault with a run without."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loguru import logger

from speechprune.lab.faults.cluster import LocalCluster
from speechprune.lab.faults.scenario import NUM_WORKERS, Scenario, read_rows
from speechprune.lab.faults.store import FaultyStore, StoreFault

SHARE = 0.2  # share of the requests that fail
EXPIRED_SECONDS = 20.0
FILLING = 1.5  # times each node's shared memory
OBJECT_STORE_BYTES = 120_000_000
MEASURED = ("seconds_", "peak_memory_bytes", "finished_at", "choice_probabilities")  # differ from run to run


def no_fault(scenario: Scenario) -> None:
    """Run without a fault, the reference."""
    scenario.wait_for_exit(scenario.launch())


def worker_killed(scenario: Scenario) -> None:
    """Kill a process that holds the model."""
    _inject_midway(scenario, scenario.cluster.kill_model_worker)


def node_killed(scenario: Scenario) -> None:
    """Remove one of three nodes, with all of its processes and objects."""
    _inject_midway(scenario, scenario.cluster.remove_worker)


def node_added(scenario: Scenario) -> None:
    """Add a third node while the job runs on two."""
    scenario.cluster.remove_worker()
    _inject_midway(scenario, scenario.cluster.add_worker)


def driver_killed(scenario: Scenario) -> None:
    """Kill the driver, and launch the job again."""
    job = scenario.launch()
    scenario.wait_for_answers(job)
    scenario.kill(job)
    scenario.wait_for_exit(scenario.launch())


def head_restarted(scenario: Scenario) -> None:
    """Kill the head, start a new cluster, and launch the job again."""
    _inject_midway(scenario, scenario.cluster.kill_head)
    scenario.cluster.close()
    scenario.cluster = LocalCluster(NUM_WORKERS)
    scenario.wait_for_exit(scenario.launch())


def object_store_filled(scenario: Scenario) -> None:
    """Let another program occupy more shared memory than each node has."""
    scenario.cluster.close()
    scenario.cluster = LocalCluster(NUM_WORKERS, object_store_bytes=OBJECT_STORE_BYTES)
    with scenario.cluster.filled_object_store(int(FILLING * OBJECT_STORE_BYTES)):
        scenario.wait_for_exit(scenario.launch())


def store_returns_503(scenario: Scenario) -> None:
    """Answer a fifth of all S3 requests with 503 Slow Down."""
    _with_faulty_store(scenario, StoreFault.SLOW_DOWN)


def store_resets(scenario: Scenario) -> None:
    """Reset the connection of a fifth of all S3 requests."""
    _with_faulty_store(scenario, StoreFault.RESET)


def store_stalls(scenario: Scenario) -> None:
    """Never answer a fifth of all S3 requests."""
    _with_faulty_store(scenario, StoreFault.STALL)


def credentials_expire(scenario: Scenario) -> None:
    """Let S3 refuse every request for a while, as with expired credentials; launch again if the job ended."""
    _inject_midway(scenario, lambda: _expire_credentials_for_a_while(scenario.store))
    if scenario.exit_codes[-1]:
        scenario.wait_for_exit(scenario.launch())


def _inject_midway(scenario: Scenario, inject: Callable[[], None]) -> None:
    """Launch the job, and inject a fault once some items are answered."""
    job = scenario.launch()
    scenario.wait_for_answers(job)
    inject()
    scenario.wait_for_exit(job)


def _expire_credentials_for_a_while(store: FaultyStore) -> None:
    store.inject(StoreFault.EXPIRED)
    time.sleep(EXPIRED_SECONDS)
    store.stop_injecting()


def _with_faulty_store(scenario: Scenario, kind: StoreFault) -> None:
    scenario.store.inject(kind, SHARE)
    try:
        scenario.wait_for_exit(scenario.launch())
    finally:
        scenario.store.stop_injecting()


FAULTS: dict[str, Callable[[Scenario], None]] = {
    fault.__name__: fault
    for fault in (
        worker_killed,
        node_killed,
        node_added,
        driver_killed,
        head_restarted,
        object_store_filled,
        store_returns_503,
        store_resets,
        store_stalls,
        credentials_expire,
    )
}


@dataclass(frozen=True)
class Outcome:
    """Result of a run under a fault.

    Parameters
    ----------
    fault, seconds, exit_codes
        Name of the fault, time of all launches, and how each ended.
    items, lost, duplicated, failed, different
        Counts of rows compared with the reference run: present, absent, repeated, failed, and with another
        value in any column that is not a measurement.
    largest_difference
        Largest difference of any choice's probability.
    requests, injected
        Requests to S3 by method, and how many of them got a fault.
    """

    fault: str
    seconds: float
    exit_codes: list[int]
    items: int
    lost: int
    duplicated: int
    failed: int
    different: int
    largest_difference: float
    requests: dict[str, int]
    injected: int


def run_scenario(
    fault: Callable[[Scenario], None],
    store: FaultyStore,
    settings: tuple[str, ...],
    reference: list[dict[str, Any]] | None,
) -> tuple[Outcome, list[dict[str, Any]]]:
    """Run the main job under a fault, on a cluster of its own.

    Parameters
    ----------
    fault
        One of ``FAULTS``, or ``no_fault``.
    store
        Store that holds the archive.
    settings
        Settings of the job.
    reference
        Rows of the reference run; None where this is it.

    Returns
    -------
    Outcome
        The run compared with the reference.
    list of dict
        Rows of this run.
    """
    store.reset_counts()
    scenario = Scenario(LocalCluster(NUM_WORKERS), store, fault.__name__, settings)
    start = time.perf_counter()
    try:
        fault(scenario)
        seconds = time.perf_counter() - start
        requests, injected = dict(store.requests), store.injected
    finally:
        scenario.cluster.close()
    rows: list[dict[str, Any]] = read_rows(scenario.run_path)
    if scenario.exit_codes[-1]:
        logger.error("{}: {}", fault.__name__, " / ".join(scenario.last_lines[-5:]))
    outcome = Outcome(
        fault=fault.__name__,
        seconds=seconds,
        exit_codes=scenario.exit_codes,
        requests=requests,
        injected=injected,
        **compare(rows, rows if reference is None else reference),
    )
    return outcome, rows


def compare(rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the differences between two runs' rows, see ``Outcome``."""
    ours = {row["item_id"]: row for row in rows}
    theirs = {row["item_id"]: row for row in reference}
    both = [(ours[item_id], theirs[item_id]) for item_id in theirs if item_id in ours]
    answered = [(one, other) for one, other in both if one["status"] == other["status"] == "ok"]
    return {
        "items": len(ours),
        "lost": len(theirs.keys() - ours.keys()),
        "duplicated": len(rows) - len(ours),
        "failed": sum(row["status"] == "failed" for row in ours.values()),
        "different": sum(_unmeasured(one) != _unmeasured(other) for one, other in both),
        "largest_difference": max(
            (
                abs(p - q)
                for one, other in answered
                for p, q in zip(one["choice_probabilities"], other["choice_probabilities"], strict=True)
            ),
            default=math.nan,
        ),
    }


def _unmeasured(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith(MEASURED)}
