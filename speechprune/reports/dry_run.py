"""The plan of a launch on the terminal: what there is to do, what it takes, what would refuse."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from speechprune.pipeline.dry_run import DryRun, Estimate
from speechprune.pipeline.gpus import PEAK_TFLOPS
from speechprune.reports.run_summary import print_facts

GPU = "H100"
UTILISATIONS = (0.3, 0.1)  # shares of its peak, as in docs/planning.md


def show_dry_run(plan: DryRun) -> int:
    """Print a plan; returns the exit code: 2 where the launch would refuse to start."""
    for estimate in plan.estimates:
        print_facts(estimate.step, _facts(estimate))
    console = Console()
    for sentence in plan.refusals:
        console.print(f"would refuse: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)
    console.print("nothing was started or written", style="dim")
    return 2 if plan.refusals else 0


def _facts(estimate: Estimate) -> Iterator[tuple[str, str]]:
    sample = estimate.sample
    yield estimate.items, f"{estimate.num_todo:,} to make, {estimate.num_done:,} already made"
    if not estimate.num_todo:
        return
    yield "recordings", f"{sample.num_all:,}, {sample.audio_seconds / 3600:,.2f} hours{_doubts(estimate)}"
    if estimate.tflops:
        stages = ", ".join(f"{stage} {tflops:,.4g}" for stage, tflops in estimate.tflops.items() if tflops)
        yield "TFLOPs", f"{sum(estimate.tflops.values()):,.4g}: {stages}"
        hours = [
            f"{sum(estimate.tflops.values()) / (PEAK_TFLOPS[GPU] * share * 3600):,.2g} at {share:.0%}"
            for share in UTILISATIONS
        ]
        yield f"{GPU} hours", f"{', '.join(hours)} of {PEAK_TFLOPS[GPU]:g} TFLOPs a second"
        yield (
            "memory of an actor",
            f"{estimate.actor_bytes / 1e9:,.3g} GB: decoder, and KV cache and activations of a prompt; "
            f"{estimate.samples_bytes / 1e9:,.2g} GB of samples per block of recordings",
        )
    yield "GB read, written", f"{estimate.bytes_read / 1e9:,.3g}, {estimate.bytes_written / 1e9:,.3g}"
    if estimate.num_requests:
        yield "requests", f"{estimate.num_requests:,.0f} to object stores"


def _doubts(estimate: Estimate) -> str:
    """What the length of all recordings rests on, where it is not all of their headers."""
    sample = estimate.sample
    looked_at = len(sample.recordings) + sample.num_missing
    parts = []
    if looked_at < sample.num_all:
        parts.append(f"{looked_at:,} looked at, the rest is extrapolated")
    if sample.num_missing:
        parts.append(f"{sample.num_missing:,} of {looked_at:,} missing or out of reach")
    if sample.num_unknown:
        parts.append(f"{sample.num_unknown:,} without a length in their header, taken as the others' mean")
    if sample.num_malformed:
        parts.append(f"{sample.num_malformed:,} more in malformed rows, which will fail")
    return "".join(f"; {part}" for part in parts)
