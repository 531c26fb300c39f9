"""Scaling efficiency of the pipeline on one to four nodes, with sleep in place of a GPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import ray
from loguru import logger

from speechprune.data.answer_rows import answers_table
from speechprune.data.manifest import read_manifest
from speechprune.data.row_keys import KeySet
from speechprune.data.sources import InputOptions
from speechprune.lab.faults.cluster import LocalCluster
from speechprune.lab.faults.scenario import BUCKET
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import task_rows
from speechprune.pipeline.executor import Stages, make_executor
from speechprune.pipeline.failures import FailureLog
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.stages import decode_recording, write_answers
from speechprune.pipeline.tasks import make_tasks

CPUS_PER_NODE = 4  # so that Ray keeps processes that decode and write while the model stage sleeps


@dataclass(frozen=True)
class Scaling:
    """Result for one size of cluster.

    Parameters
    ----------
    nodes, items
        Number of nodes, with one actor each, and of all items.
    seconds
        From the pipeline's start to the last answer in the store, the start of all workers included.
    seconds_at_work
        From the first answer made to the last.
    share_of_linear
        Throughput over that of actors that only sleep, from the first answer to the last.
    overhead_per_item
        Seconds per item of one actor beyond its sleep, from the first answer to the last.
    """

    nodes: int
    items: int
    seconds: float
    seconds_at_work: float
    share_of_linear: float
    overhead_per_item: float


class SleepingStage:
    """Replacement of ``AnswerStage`` that sleeps a given time per item, and leaves the CPUs to Ray."""

    def __init__(
        self,
        *,
        model: ModelOptions,
        num_threads: int | None,
        failures: FailureLog,
        seconds_per_item: float,
    ) -> None:
        self._seconds = seconds_per_item

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Return one row per item."""
        made = []
        for task in task_rows(decoded):
            assert task["pcm"], task["error"]
            items = task["items"]
            time.sleep(self._seconds * len(items))
            row = {"model": "asleep", "method": "none", "finished_at": datetime.now(UTC)}
            table = answers_table([row] * len(items), items)
            made.append(table.append_column("status", pa.array(["ok"] * len(items))))
        return pa.concat_tables(made)


def scale(num_nodes: Sequence[int], *, items_per_node: int, seconds_per_item: float) -> list[Scaling]:
    """Run the pipeline once for each size of cluster, over the archive in the store.

    Parameters
    ----------
    num_nodes
        Numbers of nodes, without the head.
    items_per_node
        Items per node, so that every size takes equally long.
    seconds_per_item
        Time of sleep per item.
    """
    sizes = []
    for nodes in num_nodes:
        with closing(LocalCluster(nodes, cpus_per_worker=CPUS_PER_NODE)) as cluster:
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            try:
                sizes.append(_one_size(nodes, items_per_node * nodes, seconds_per_item))
            finally:
                ray.shutdown()
        logger.info("{} nodes: {:.1%} of linear", nodes, sizes[-1].share_of_linear)
    return sizes


def _one_size(nodes: int, num_items: int, seconds_per_item: float) -> Scaling:
    manifest = read_manifest(
        InputOptions(manifest=f"{BUCKET}/manifest.jsonl", limit=num_items), f"{BUCKET}/no-bytes"
    )
    run = RunStore(f"{BUCKET}/runs/asleep-{nodes}")
    tasks = make_tasks(manifest, KeySet())
    start = time.perf_counter()
    stages = Stages(
        decode=decode_recording,
        model=partial(SleepingStage, seconds_per_item=seconds_per_item),
        write=partial(write_answers, run_path=run.path, key_columns=run.key_columns),
        doing="sleeping over",
    )
    options = RayOptions(min_actors=nodes, recordings_per_block=1)
    executor = make_executor(options, ModelOptions(path="asleep", device="cpu"))
    executor.run(stages, tasks, Progress(num_items=num_items))
    seconds = time.perf_counter() - start
    made = run.read_answers("ok", ["item_id", "finished_at"]).column("finished_at")
    assert len(run.recover()) == num_items
    at_work = (pc.max(made).as_py() - pc.min(made).as_py()).total_seconds()
    later = (
        num_items / nodes - pc.sum(pc.equal(made, pc.min(made))).as_py()
    )  # items of one actor after its first block
    return Scaling(
        nodes=nodes,
        items=num_items,
        seconds=seconds,
        seconds_at_work=at_work,
        share_of_linear=later * seconds_per_item / at_work,
        overhead_per_item=at_work / later - seconds_per_item,
    )
