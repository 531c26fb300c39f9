"""Benchmark synthesis on a Ray cluster: actors make recordings, a worker runs the models of the card."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError

from speechprune.benchmarks.builder.config import BuildConfig, BuildRayOptions
from speechprune.benchmarks.builder.recording_stage import RecordingStage
from speechprune.config import ConfigError
from speechprune.pipeline.cluster import root_cause, start_ray
from speechprune.pipeline.failures import PoisonedRecording, StartError
from speechprune.pipeline.retries import Attempts, start_tracker


class RecordingActor(RecordingStage):
    """The stage in a process of its own, which a recording may kill; ``tracker`` counts how often."""

    def __init__(self, *, config: BuildConfig, path: str, tracker: Any) -> None:
        super().__init__(config=config, path=path, attempt=self._bounded_attempt)
        self._attempts = Attempts(tracker, "make")

    @contextlib.contextmanager
    def _bounded_attempt(self, recording_id: str) -> Iterator[None]:
        (num_open,) = self._attempts.open_attempts([recording_id])
        if num_open >= self._config.ray.max_attempts:
            raise PoisonedRecording(
                f"making it killed its worker in {num_open} attempt{'s' if num_open > 1 else ''}: "
                "give workers more memory, or look at its text"
            )
        with self._attempts({recording_id: recording_id}):
            yield


def make_on_ray(config: BuildConfig, blocks: Sequence[pa.Table], path: str) -> Iterator[pa.Table]:
    """Start to make the recordings of blocks of tasks; returns the stage's reports, in any order.

    Raises
    ------
    ConfigError
        The cluster lacks what the options ask for.
    StartError
        Ray can't be joined or started; while reports are taken: the workers can't start, or can't go on.
    """
    start_ray()
    options = config.ray
    num_actors = min(options.max_actors or _room_for_actors(options), len(blocks))
    dataset = ray.data.from_blocks(list(blocks)).map_batches(
        RecordingActor,
        batch_size=options.recordings_per_block,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=num_actors, initial_size=num_actors),
        num_cpus=options.cpus_per_actor,
        num_gpus=options.gpus_per_actor or None,
        fn_constructor_kwargs={"config": config, "path": path, "tracker": start_tracker()},
    )
    return _reports(dataset)


def _reports(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    with _start_errors():
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def call_on_ray(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Call a function on a worker, with a GPU if the cluster has one.

    Raises
    ------
    StartError
        The worker can't start, or fails.
    """
    start_ray()
    num_gpus = min(1, ray.cluster_resources().get("GPU", 0))
    with _start_errors():
        result: dict[str, Any] = ray.get(ray.remote(num_gpus=num_gpus)(function).remote(*arguments))
    return result


@contextlib.contextmanager
def _start_errors() -> Iterator[None]:
    """Whatever ends a worker becomes one line."""
    try:
        yield
    except RayError as error:
        raise StartError(root_cause(error)) from error


def _room_for_actors(options: BuildRayOptions) -> int:
    resources = ray.cluster_resources()
    room = resources.get("CPU", 0) / options.cpus_per_actor
    if options.gpus_per_actor:
        room = min(room, resources.get("GPU", 0) / options.gpus_per_actor)
        if room < 1:
            raise ConfigError(
                f"ray.gpus_per_actor is {options.gpus_per_actor:g}, but the cluster has "
                f"{resources.get('GPU', 0):g} GPUs"
            )
    return max(1, int(room))
