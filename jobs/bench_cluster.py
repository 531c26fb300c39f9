"""Rehearse on this machine what happens on a cluster (needs the extra [test], for its S3 server).

    python jobs/bench_cluster.py faults [NAME ...]     # the main job under every fault

A head and three workers, separate Ray nodes; the demo's archive in S3, seven times. Prints a table, writes
bench_cluster.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from loguru import logger

from speechprune.pipeline.terminal import divert_framework_output, log_to_screen
from speechprune.rehearsal.faults import FAULTS, rehearse, undisturbed
from speechprune.rehearsal.scene import DEMO, fill_archive
from speechprune.rehearsal.store import FaultyStore
from speechprune.reports.rehearsal import show_faults

SETTINGS = (f"model.path={DEMO / 'model'}", "ray.min_actors=3", "answering.no_audio_baseline=false")


def main(arguments: list[str]) -> int:
    """Run a rehearsal."""
    log_to_screen()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["faults"])
    parser.add_argument("names", nargs="*", choices=[[], *FAULTS], help="of faults; default: all")
    parser.add_argument("--copies", type=int, default=7, help="how often the demo's archive is repeated")
    parser.add_argument("--output", default="bench_cluster.json", help="where the numbers go")
    options = parser.parse_args(arguments)
    store = FaultyStore()
    os.environ.update(store.environment)
    try:
        num_items = fill_archive(options.copies)
        logger.info("{:,} items; first undisturbed", num_items)
        outcomes = []
        with divert_framework_output():
            outcome, reference = rehearse(undisturbed, store, SETTINGS, None)
            outcomes.append(outcome)
            for name in options.names or FAULTS:
                logger.info("{} ({:.0f} s the last)", name, outcome.seconds)
                outcome, _ = rehearse(FAULTS[name], store, SETTINGS, reference)
                outcomes.append(outcome)
    finally:
        store.close()
    show_faults(outcomes)
    Path(options.output).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
