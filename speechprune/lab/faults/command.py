"""Run the main job under faults, on more nodes, and for long (needs the extra [lab], for its S3 server).

    python jobs/bench_cluster.py faults [NAME ...]     # the main job under every fault, or the named ones
    python jobs/bench_cluster.py scaling               # one to four nodes, with sleep in place of a GPU
    python jobs/bench_cluster.py soak                  # 10,032 items about 2,508 recordings in one launch
    python jobs/bench_cluster.py kills                 # kill -9 at random moments, and two launches at once
    python jobs/bench_cluster.py index_kills           # kill -9 of the index job, which makes a search index
    python jobs/bench_cluster.py driver                # the driver's CPU time and memory for many items

Nodes are separate Ray nodes; the archive is the demo's, repeated, for the first two in S3. Each prints its
table and writes bench_cluster.WHAT.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from loguru import logger

from speechprune.lab.faults.driver import DriverUse, driver_use
from speechprune.lab.faults.faults import FAULTS, Outcome, no_fault, run_scenario
from speechprune.lab.faults.index_kills import index_kills
from speechprune.lab.faults.kills import Kills, kill_scenes
from speechprune.lab.faults.scaling import Scaling, scale
from speechprune.lab.faults.scenario import BUCKET, DEMO, fill_archive
from speechprune.lab.faults.soak import Soak, soak
from speechprune.lab.faults.store import FaultyStore
from speechprune.lab.faults.tables import show_driver, show_faults, show_kills, show_scaling, show_soak
from speechprune.lab.speed.measurements import temporary_folder
from speechprune.pipeline.terminal import divert_framework_output

MODEL = f"model.path={DEMO / 'model'}"
NODES = (1, 2, 3, 4)
Result = TypeVar("Result", Outcome, Scaling)


def main(arguments: Sequence[str]) -> int:
    """Run one of them; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", help="where the numbers go")
    whats = parser.add_subparsers(dest="what", required=True)
    faults = whats.add_parser("faults")
    faults.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FAULTS))
    faults.add_argument("--copies", type=int, default=7, help="number of copies of the demo's archive")
    scaling = whats.add_parser("scaling")
    scaling.add_argument("--items", type=int, default=60, help="per node")
    soak_run = whats.add_parser("soak")
    soak_run.add_argument("--copies", type=int, default=209, help="number of copies of the demo's archive")
    kills = whats.add_parser("kills")
    kills.add_argument("--kills", type=int, default=20, help="number of kills")
    kills.add_argument("--items", type=int, default=16, help="of each run")
    killed_index = whats.add_parser("index_kills")
    killed_index.add_argument("--kills", type=int, default=10, help="number of kills")
    driver = whats.add_parser("driver")
    driver.add_argument("--items", type=int, default=1_000_000, help="of the manifest")
    driver.add_argument("--items-per-file", type=int, default=20, help="of the answers files")
    options = parser.parse_args(arguments)
    unknown = set(getattr(options, "names", [])) - set(FAULTS)
    if unknown:
        parser.error(f"unknown faults {', '.join(sorted(unknown))}: give some of {', '.join(FAULTS)}")
    results: list[Outcome] | list[Scaling] | list[Soak] | list[Kills] | list[DriverUse]
    if options.what == "soak":
        results = [_soak(options.copies)]
        show_soak(results[0])
    elif options.what == "driver":
        with temporary_folder() as folder:
            results = driver_use(Path(folder), options.items, options.items_per_file, MODEL)
        show_driver(results)
    elif options.what == "kills":
        with temporary_folder() as folder:
            manifest = f"input.manifest={DEMO / 'archive/manifest.jsonl'}"
            settings = (MODEL, manifest, f"input.limit={options.items}", "ray.recordings_per_block=1")
            results = kill_scenes(Path(folder), options.kills, settings)
        show_kills(results)
    elif options.what == "index_kills":
        with temporary_folder() as folder:
            results = index_kills(Path(folder), options.kills, DEMO / "archive", MODEL)
        show_kills(results)
    elif options.what == "scaling":
        results = _with_store(lambda store: _scaling(options.items))
        show_scaling(results)
    else:
        results = _with_store(lambda store: _faults(store, options.names or list(FAULTS), options.copies))
        show_faults(results)
    output = options.output or f"bench_cluster.{options.what}.json"
    Path(output).write_text(json.dumps([asdict(result) for result in results], indent=2))
    print(f"wrote {output}")
    return 0


def _with_store(measure: Callable[[FaultyStore], list[Result]]) -> list[Result]:
    store = FaultyStore()
    os.environ.update(store.environment)
    try:
        with divert_framework_output():
            return measure(store)
    finally:
        store.close()


def _faults(store: FaultyStore, names: list[str], num_copies: int) -> list[Outcome]:
    settings = (MODEL, "ray.min_actors=3")
    logger.info("{:,} items; no fault", fill_archive(BUCKET, num_copies))
    outcome, reference = run_scenario(no_fault, store, settings, None)
    outcomes = [outcome]
    for name in names:
        logger.info("{}", name.replace("_", " "))
        outcome, _ = run_scenario(FAULTS[name], store, settings, reference)
        outcomes.append(outcome)
        logger.info("{:.0f} s; {} lost, {} different", outcome.seconds, outcome.lost, outcome.different)
    return outcomes


def _scaling(items_per_node: int) -> list[Scaling]:
    num_demo_items = len((DEMO / "archive/manifest.jsonl").read_text().splitlines())
    fill_archive(BUCKET, -(-items_per_node * max(NODES) // num_demo_items))
    return scale(NODES, items_per_node=items_per_node, seconds_per_item=1.0)


def _soak(num_copies: int) -> Soak:
    with temporary_folder() as folder:
        return soak(Path(folder), num_copies, (MODEL, "ray.min_actors=2", "pruning.pruning_rate=0.8"))
