"""One function a fault: the main job meets it, and is launched again where it ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loguru import logger

from speechprune.lab.faults.cluster import LocalCluster
from speechprune.lab.faults.scene import NUM_WORKERS, Scene, rows_of
from speechprune.lab.faults.store import FaultyStore, Misbehaviour

SHARE = 0.2  # of all requests
EXPIRED_SECONDS = 20.0
FILLING = 1.5  # of each node's shared memory
OBJECT_STORE_BYTES = 120_000_000
MEASURED = ("seconds_", "peak_memory_bytes", "finished_at", "choice_probabilities")  # not the same twice


def undisturbed(scene: Scene) -> None:
    """Nothing happens."""
    scene.to_its_end(scene.launch())


def worker_killed(scene: Scene) -> None:
    """A process with the model is killed."""
    _strike_midway(scene, scene.cluster.kill_model_worker)


def node_killed(scene: Scene) -> None:
    """One of three nodes goes, with all of its processes and objects."""
    _strike_midway(scene, scene.cluster.remove_worker)


def node_added(scene: Scene) -> None:
    """One of three nodes comes when the job is at work on two."""
    scene.cluster.remove_worker()
    _strike_midway(scene, scene.cluster.add_worker)


def driver_killed(scene: Scene) -> None:
    """The driver is killed, and the job launched again."""
    job = scene.launch()
    scene.until_some_are_answered(job)
    scene.kill(job)
    scene.to_its_end(scene.launch())


def head_restarted(scene: Scene) -> None:
    """The head is killed; a new cluster, and the job launched again."""
    _strike_midway(scene, scene.cluster.kill_head)
    scene.cluster.close()
    scene.cluster = LocalCluster(NUM_WORKERS)
    scene.to_its_end(scene.launch())


def object_store_filled(scene: Scene) -> None:
    """Another program holds more shared memory than each node has."""
    scene.cluster.close()
    scene.cluster = LocalCluster(NUM_WORKERS, object_store_bytes=OBJECT_STORE_BYTES)
    with scene.cluster.filled_object_store(int(FILLING * OBJECT_STORE_BYTES)):
        scene.to_its_end(scene.launch())


def store_says_503(scene: Scene) -> None:
    """A fifth of all S3 requests is answered with 503 Slow Down."""
    _with_bad_store(scene, Misbehaviour.SLOW_DOWN)


def store_resets(scene: Scene) -> None:
    """A fifth of all S3 requests has its connection reset."""
    _with_bad_store(scene, Misbehaviour.RESET)


def store_stalls(scene: Scene) -> None:
    """A fifth of all S3 requests is never answered."""
    _with_bad_store(scene, Misbehaviour.STALL)


def credentials_expire(scene: Scene) -> None:
    """S3 refuses everything for a while, as with expired credentials; then the job is launched again."""
    _strike_midway(scene, lambda: _refuse_for_a_while(scene.store))
    if scene.exit_codes[-1]:
        scene.to_its_end(scene.launch())


def _strike_midway(scene: Scene, strike: Callable[[], None]) -> None:
    """A launch that something befalls when some items are answered."""
    job = scene.launch()
    scene.until_some_are_answered(job)
    strike()
    scene.to_its_end(job)


def _refuse_for_a_while(store: FaultyStore) -> None:
    store.misbehave(Misbehaviour.EXPIRED)
    time.sleep(EXPIRED_SECONDS)
    store.behave()


def _with_bad_store(scene: Scene, kind: Misbehaviour) -> None:
    scene.store.misbehave(kind, SHARE)
    try:
        scene.to_its_end(scene.launch())
    finally:
        scene.store.behave()


FAULTS: dict[str, Callable[[Scene], None]] = {
    fault.__name__: fault
    for fault in (
        worker_killed,
        node_killed,
        node_added,
        driver_killed,
        head_restarted,
        object_store_filled,
        store_says_503,
        store_resets,
        store_stalls,
        credentials_expire,
    )
}


@dataclass(frozen=True)
class Outcome:
    """What a fault left.

    Parameters
    ----------
    fault, seconds, exit_codes
        Which, how long all launches took, and how each ended.
    items, lost, twice, failed, different
        Rows, beside the undisturbed run's: absent, repeated, failed, and with another value in any column
        that is not a measurement.
    largest_difference
        Of any choice's probability.
    requests, misbehaved
        Of S3, and those served badly.
    """

    fault: str
    seconds: float
    exit_codes: list[int]
    items: int
    lost: int
    twice: int
    failed: int
    different: int
    largest_difference: float
    requests: dict[str, int]
    misbehaved: int


def rehearse(
    fault: Callable[[Scene], None],
    store: FaultyStore,
    settings: tuple[str, ...],
    reference: list[dict[str, Any]] | None,
) -> tuple[Outcome, list[dict[str, Any]]]:
    """Let the main job meet a fault on a cluster of its own.

    Parameters
    ----------
    fault
        Of ``FAULTS``, or ``undisturbed``.
    store
        Holds the archive.
    settings
        Of the job.
    reference
        Rows of the undisturbed run; None where this is it.

    Returns
    -------
    Outcome
        Beside the reference.
    list of dict
        Rows of this run.
    """
    store.forget_counts()
    scene = Scene(LocalCluster(NUM_WORKERS), store, fault.__name__, settings)
    begun = time.perf_counter()
    try:
        fault(scene)
        seconds = time.perf_counter() - begun
        requests, misbehaved = dict(store.requests), store.misbehaved
    finally:
        scene.cluster.close()
    rows: list[dict[str, Any]] = rows_of(scene.run_path)
    if scene.exit_codes[-1]:
        logger.error("{}: {}", fault.__name__, " / ".join(scene.last_lines[-5:]))
    outcome = Outcome(
        fault=fault.__name__,
        seconds=seconds,
        exit_codes=scene.exit_codes,
        requests=requests,
        misbehaved=misbehaved,
        **compare(rows, rows if reference is None else reference),
    )
    return outcome, rows


def compare(rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows beside the undisturbed run's, see ``Outcome``."""
    ours = {row["item_id"]: row for row in rows}
    theirs = {row["item_id"]: row for row in reference}
    both = [(ours[item_id], theirs[item_id]) for item_id in theirs if item_id in ours]
    answered = [(one, other) for one, other in both if one["status"] == other["status"] == "ok"]
    return {
        "items": len(ours),
        "lost": len(theirs.keys() - ours.keys()),
        "twice": len(rows) - len(ours),
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
