"""Settings of the executors, in a module of their own: workers that decode load these without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """How the work is spread.

    Parameters
    ----------
    executor
        ``ray``: on the cluster of RAY_ADDRESS or of this machine, or on one started here. ``local``: in this
        process, one recording after the other, without Ray; of the settings below only
        ``recordings_per_block`` and ``max_decode_gb`` apply then.
    min_actors, max_actors
        Size of the pool of answer actors, each with the model; autoscaled where they differ.
        Default: one for every ``gpus_per_actor`` of the cluster's GPUs, one on a cluster without.
    gpus_per_actor
        GPUs of an actor; a fraction shares one. Default: 1 where the cluster has any, else 0.
    recordings_per_block
        Recordings that are scheduled, batched, retried and written together.
    max_attempts
        How often a recording may kill a worker that does nothing else meanwhile, before it becomes a
        failed row.
    max_seconds_per_recording
        A worker that decodes, encodes or answers about one recording for longer is ended, and that counts as
        a kill; null for no limit.
    max_decode_gb
        Memory that decoding one recording may take, in 10^9 bytes, 115 MB of samples an hour; one that needs
        more becomes a failed row. Null for no limit. Linux only.
    """

    executor: Literal["ray", "local"] = "ray"
    min_actors: int | None = None
    max_actors: int | None = None
    gpus_per_actor: float | None = None
    recordings_per_block: int = 4
    max_attempts: int = 3
    max_seconds_per_recording: float | None = 7200.0
    max_decode_gb: float | None = 8.0

    def __post_init__(self) -> None:
        for name in ("max_seconds_per_recording", "max_decode_gb"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} is {limit:g}: give more than 0, or null")
        for name in ("min_actors", "max_actors", "recordings_per_block", "max_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if self.min_actors and self.max_actors and self.min_actors > self.max_actors:
            raise ValueError(f"min_actors is {self.min_actors}, more than max_actors, {self.max_actors}")
        if self.gpus_per_actor is not None and not 0 <= self.gpus_per_actor < math.inf:
            raise ValueError(f"gpus_per_actor is {self.gpus_per_actor}: give 0 or more")
