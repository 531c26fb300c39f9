"""The stages of a run on a Ray cluster: Ray Data moves the rows, retries and scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from speechprune import storage
from speechprune.config import ConfigError
from speechprune.models.options import ModelOptions
from speechprune.pipeline.cluster import num_alive_actors, root_cause, start_ray
from speechprune.pipeline.executor import Stages
from speechprune.pipeline.failures import StartError, code_error
from speechprune.pipeline.gpus import gpu_use
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.progress import Activity, Progress
from speechprune.pipeline.retries import PoisonGuard, guard_decode, guard_write, start_tracker
from speechprune.pipeline.tasks import Tasks

# CPUs of a task or actor of a stage. They differ: Ray would fuse decoding into a model's actor of the same
# share, and the actor would wait for it
STAGE_CPUS = {"decode": 1.0, "model": 0.5, "write": 0.25}
ACTIVITY_SECONDS = 5.0  # the tracker's time to answer; after it a line of progress has no activity


class RayExecutor:
    """Tasks and actors of a cluster: the executor of the jobs, see ``Executor``."""

    def __init__(self, options: RayOptions, model: ModelOptions) -> None:
        start_ray()
        self._options = options
        # workers run in other folders
        is_local = Path(model.path).is_dir()
        self.model = replace(model, path=storage.absolute(model.path)) if is_local else model

    def run(self, stages: Stages, tasks: Tasks, progress: Progress) -> list[dict[str, Any]]:
        """Build the Ray Data pipeline and pull the rows through it; see ``Executor``.

        Raises
        ------
        ConfigError
            The cluster lacks what the options ask for.
        """
        options = self._options
        pool = actor_pool(options, self.model)
        tracker = start_tracker()
        guards = {"tracker": tracker, "limits": options}
        # from_arrow would run a task a block, to learn its size
        dataset = ray.data.from_blocks(cast(list[pa.Table], _Blocks(tasks, options.recordings_per_block)))
        dataset = dataset.map_batches(
            guard_decode,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool["cpus"]["decode"],
            fn_kwargs={**guards, "decode": stages.decode},
        )
        dataset = dataset.map_batches(
            PoisonGuard,
            batch_size=options.recordings_per_block,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=pool["min"], max_size=pool["max"]),
            num_cpus=pool["cpus"]["model"],
            num_gpus=pool["gpus"],
            fn_constructor_kwargs={
                **guards,
                "make_stage": stages.model,
                "doing": stages.doing,
                "model": self.model,
                "num_threads": pool["threads"],
            },
        )
        dataset = dataset.map_batches(
            guard_write,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=pool["cpus"]["write"],
            fn_kwargs={"write": stages.write, "tracker": tracker},
        )
        reports = []
        try:
            with progress.running(
                len(tasks), lambda: _activity(tracker), lambda: _soon(tracker.tracebacks.remote(), [])
            ):
                for block in dataset.iter_batches(
                    batch_size=None, batch_format="pyarrow", prefetch_batches=0
                ):
                    for report in block.to_pylist():
                        progress.add(report)
                        reports.append(report)
            error = ray.get(tracker.code_error.remote(len(tasks)))
        except RayError as failure:
            raise _soon(tracker.code_error.remote(), None) or StartError(root_cause(failure)) from failure
        if error is not None:
            raise error
        progress.note_gpus(gpu_use(ray.nodes(), pool["gpus"], progress.throughput()))
        return reports

    def put(self, value: Any) -> Any:
        """See ``Executor``: values stay in the object store."""
        return ray.put(value)

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        cpus: float = 1.0,
        with_model: bool = False,
        retry: bool = True,
    ) -> Any:
        """See ``Executor``; results stay in the object store until they are asked for."""
        options: dict[str, Any] = {"num_cpus": cpus}
        if with_model:  # max_calls: a process would keep the GPU's memory
            gpus = 1 if ray.cluster_resources().get("GPU") and self.model.device != "cpu" else 0
            options |= {"num_gpus": gpus, "max_calls": 1}
        if not retry:
            options["max_retries"] = 0
        return ray.remote(**options)(function).remote(*arguments)

    def get(self, handle: Any) -> Any:
        """See ``Executor``."""
        try:
            return ray.get(handle)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else None
            found = code_error(cause) if isinstance(cause, Exception) else None
            raise found or StartError(root_cause(error)) from error

    def get_or_none(self, handle: Any, timeout_seconds: float) -> Any:
        """See ``Executor``; a worker that took too long is ended."""
        try:
            return ray.get(handle, timeout=timeout_seconds)
        except GetTimeoutError:
            ray.cancel(handle, force=True)
            return None
        except RayError:
            return None


@dataclass(frozen=True)
class _Blocks:
    """Blocks that each iteration makes again: Ray stores them, the driver keeps none."""

    tasks: Tasks
    recordings_per_block: int

    def __iter__(self) -> Iterator[pa.Table]:
        return self.tasks.blocks(self.recordings_per_block)


def _activity(tracker: Any) -> Activity:
    activity: Activity = _soon(tracker.activity.remote(), Activity())
    return replace(activity, num_actors=num_alive_actors(PoisonGuard.__name__))


def _soon(handle: Any, default: Any) -> Any:
    """A tracker's answer, or the default where none comes: progress neither ends nor holds a run."""
    try:
        return ray.get(handle, timeout=ACTIVITY_SECONDS)
    except (RayError, GetTimeoutError):
        return default


def actor_pool(options: RayOptions, model: ModelOptions) -> dict[str, Any]:
    """Size of the pool and share of each actor, from the config and what the cluster has."""
    resources = ray.cluster_resources()
    num_gpus = resources.get("GPU", 0)
    gpus = options.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if num_gpus and model.device != "cpu" else 0.0
    scales_from_zero = num_gpus == 0 and options.max_actors is not None
    if gpus > num_gpus and not scales_from_zero:
        raise ConfigError(
            f"ray.gpus_per_actor is {gpus:g}, but the cluster has {num_gpus:g} GPUs "
            "(set ray.max_actors where GPUs come when they are asked for)"
        )
    most = options.max_actors or max(options.min_actors or 1, int(num_gpus // gpus) if gpus else 1)
    least = options.min_actors or (1 if options.max_actors else most)
    num_nodes = max(1, sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes()))
    cpus_per_node = resources.get("CPU", 0) / num_nodes
    actors_per_node = -(-most // num_nodes)
    return {
        "min": least,
        "max": most,
        "gpus": gpus or None,
        "threads": max(1, int(cpus_per_node) // actors_per_node),
        "cpus": stage_cpus(cpus_per_node, actors_per_node),
    }


def stage_cpus(cpus_per_node: float, actors_per_node: int) -> dict[str, float]:
    """CPUs that each stage asks for: scaled down where the others would find no room beside the actors.

    Ray would wait for decoding's room for ever, and for writing's until all is decoded.
    """
    needed = actors_per_node * STAGE_CPUS["model"] + STAGE_CPUS["decode"] + STAGE_CPUS["write"]
    scale = min(1.0, cpus_per_node / needed) if cpus_per_node else 1.0  # none yet: it will scale up
    return {stage: math.floor(cpus * scale * 1000) / 1000 for stage, cpus in STAGE_CPUS.items()}
