"""Measure what an index saves, on a 100 M parameter model with random weights.

    python jobs/bench_index.py [--output FILE] [--recordings 20] [--seconds 1200] [--runs 10] [--without 10]

(1) a recording of three hours indexed on a cluster of two nodes of this machine, with the demo's small
architecture; (2) one question about each recording in each of some runs, from the index and without it, start
to end, beside what the FLOPs account predicts. Prints tables, writes JSON. Two hours and a quarter on two
cores; an hour with `--without 3`, which makes three runs without the index and counts them for all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from speechprune.lab.speed.index import on_two_nodes, questions_in_turn
from speechprune.lab.speed.measurements import make_bench_model, temporary_folder
from speechprune.lab.speed.tables import show_questions_in_turn, show_two_nodes

DEMO = Path(__file__).parents[2] / "demo"
LONG_SECONDS = 10_800.0


def main(arguments: Sequence[str]) -> int:
    """Run both measurements; each is kept as soon as it is made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="bench_index.json", help="where the numbers go")
    parser.add_argument("--recordings", type=int, default=20, help="recordings of (2)")
    parser.add_argument("--seconds", type=float, default=1200.0, help="length of each")
    parser.add_argument("--runs", type=int, default=10, help="runs of (2), each with another question")
    parser.add_argument("--without", type=int, help="how many of them are made without index too (all)")
    options = parser.parse_args(arguments)
    num_without = options.runs if options.without is None else options.without
    if not 1 <= num_without <= options.runs:
        parser.error(f"--without is {num_without}: give 1 to {options.runs}, what --runs says")
    speech = sorted((DEMO / "archive" / "audio").glob("*.opus"))
    results: dict[str, Any] = {}

    def keep(name: str, result: dict[str, Any]) -> None:
        results[name] = result
        Path(options.output).write_text(json.dumps(results, indent=2))

    with temporary_folder() as temporary:
        folder = Path(temporary)
        logger.info("(1) three hours on two nodes")
        two_nodes = on_two_nodes(speech, DEMO / "model", folder, LONG_SECONDS)
        show_two_nodes(two_nodes)
        keep("two_nodes", two_nodes)
        model = make_bench_model(DEMO / "model", folder / "model")
        logger.info("(2) {:,} runs about {:,} recordings", options.runs, options.recordings)
        in_turn = questions_in_turn(
            speech,
            model,
            folder,
            num_recordings=options.recordings,
            seconds=options.seconds,
            num_runs=options.runs,
            num_without=num_without,
        )
        show_questions_in_turn(in_turn)
        keep("questions_in_turn", in_turn)
    print(f"wrote {options.output}")
    return 0
