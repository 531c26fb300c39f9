"""Measure every stage on a GPU beside the card's own limits, on Qwen2-Audio's 8.4 B parameters at random.

    python jobs/bench_gpu.py [--output bench_gpu.json] [--smoke] [--parts limits,prefill] [--minutes 8]

Each part has a limit of seconds; its rows are written as soon as they are there. Needs torch, transformers
and pyarrow, but neither Ray nor FFmpeg: recordings are made, not decoded. ``--smoke`` runs all parts at a
small size on the CPU. ``--show FILE`` prints the tables of an earlier run as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from speechprune.lab.gpu.account import fit_seconds
from speechprune.lab.gpu.agreement import measure_agreement
from speechprune.lab.gpu.answers import measure_answers, measure_compiled_answers
from speechprune.lab.gpu.bench import Bench, Rows, load
from speechprune.lab.gpu.clock import PartTimeout, time_limit
from speechprune.lab.gpu.compiled import measure_compiled
from speechprune.lab.gpu.generation import measure_generation
from speechprune.lab.gpu.kernels import measure_profile
from speechprune.lab.gpu.limits import measure_limits
from speechprune.lab.gpu.sizes import CARD, SMOKE
from speechprune.lab.gpu.stages import measure_encoder, measure_prefill, measure_pruning
from speechprune.lab.gpu.tables import as_markdown, progress_line


@dataclass(frozen=True)
class Part:
    """One part of the benchmark, and its limit of seconds."""

    name: str
    measure: Callable[[Bench], Rows]
    seconds: float


# 430 s in all: with loading below the eight minutes after which no part goes on
PARTS = (
    Part("limits", measure_limits, 15),  # the first: the others' shares refer to it
    Part("prefill", measure_prefill, 30),
    Part("encoder", measure_encoder, 35),
    Part("answers", measure_answers, 120),
    Part("pruning", measure_pruning, 20),
    Part("generation", measure_generation, 50),
    Part("agreement", measure_agreement, 30),
    Part("compiled", measure_compiled, 60),  # late, as what is compiled stays so
    Part("compiled_answers", measure_compiled_answers, 40),
    Part("profile", measure_profile, 30),
)


def main(arguments: Sequence[str]) -> int:
    """Run the parts; one that fails or runs out of time keeps its rows and ends alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="bench_gpu.json", help="where the numbers go")
    parser.add_argument("--smoke", action="store_true", help="all parts at a small size on the CPU")
    parser.add_argument("--parts", help="names of some parts, with commas; limits is always among them")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no part goes on")
    parser.add_argument("--show", metavar="FILE", help="print the tables of an earlier run, as Markdown")
    options = parser.parse_args(arguments)
    if options.show:
        print(as_markdown(json.loads(Path(options.show).read_text())))
        return 0
    names = [part.name for part in PARTS]
    chosen = [*dict.fromkeys(["limits", *(options.parts or ",".join(names)).split(",")])]
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"--parts names {unknown[0]!r}: give some of {', '.join(names)}")
    if not options.smoke and not torch.cuda.is_available():
        parser.error("no GPU is visible here: add --smoke to run all parts at a small size on the CPU")
    with tempfile.TemporaryDirectory(prefix="speechprune-bench-") as folder:
        failed = _run(options, [part for part in PARTS if part.name in chosen], Path(folder))
    print(f"wrote {options.output}")
    return 1 if failed else 0


def _run(options: argparse.Namespace, parts: Sequence[Part], folder: Path) -> bool:
    """Whether a part failed; one that ran out of its time did not."""
    start = time.monotonic()
    sizes, device = (SMOKE, "cpu") if options.smoke else (CARD, "cuda")
    if options.smoke:
        torch.set_num_threads(1)  # sizes this small leave nothing to share out
    lm = load(sizes, folder / "model", device, "float32" if options.smoke else "bfloat16")
    bench = Bench(sizes=sizes, folder=folder, device=lm.model.device, lm=lm)
    results: dict[str, Any] = {"machine": _machine(bench), "seconds_to_load": time.monotonic() - start}
    print(json.dumps(results["machine"]), flush=True)
    for part in parts:
        left = options.minutes * 60 - (time.monotonic() - start)
        results[part.name] = _run_part(part, bench, results, Path(options.output), min(part.seconds, left))
    if rows := _measured(results):
        results["fit"] = {"rows": list(fit_seconds(rows)), "ended": "done", "seconds": 0.0}
    results["seconds"] = time.monotonic() - start
    Path(options.output).write_text(json.dumps(results, indent=1))
    return any(results[part.name]["ended"].startswith("failed") for part in parts)


def _run_part(
    part: Part, bench: Bench, results: dict[str, Any], output: Path, seconds: float
) -> dict[str, Any]:
    """Rows of a part, how it ended, and its seconds; the file has each row at once."""
    start = time.monotonic()
    result: dict[str, Any] = {"rows": [], "ended": "its time was over", "seconds": 0.0}
    if seconds <= 0:
        return result
    print(f"--- {part.name}, at most {seconds:.0f} s", flush=True)
    try:
        with time_limit(seconds):
            for row in part.measure(bench):
                result["rows"].append(row)
                result["seconds"] = time.monotonic() - start
                print(progress_line(row), flush=True)
                output.write_text(json.dumps(results | {part.name: result}, indent=1))
        result["ended"] = "done"
    except PartTimeout:
        print(f"{part.name}: its time was over", flush=True)
    except Exception:
        result["ended"] = f"failed: {traceback.format_exc()}"
        print(result["ended"], flush=True)
    result["seconds"] = time.monotonic() - start
    return result


def _measured(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Stages whose seconds and FLOPs are known."""
    return [
        {"stage": f"{name}, {row.get('tokens', 'window')} x {row['batch']}", **row}
        for name in ("prefill", "encoder")
        for row in results.get(name, {"rows": []})["rows"]
    ]


def _machine(bench: Bench) -> dict[str, Any]:
    on_card = bench.device.type == "cuda"
    card = torch.cuda.get_device_properties(bench.device) if on_card else None
    model = bench.lm.model
    return {
        "card": card.name if card else "none",
        "card_gigabytes": card.total_memory / 1e9 if card else None,
        "multiprocessors": card.multi_processor_count if card else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        **{name: version(name) for name in ("torch", "transformers", "numpy")},
        "parameters": sum(p.numel() for p in bench.hugging_face[0].parameters()),
        "dtype": str(model.dtype),
        "encoder_batch_size": model.encoder_batch_size,
        "prefill_batch_tokens": model.prefill_batch_tokens,
    }
