"""The plan of a launch on the terminal: what there is to do, what it takes, what would refuse."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal

from speechprune.data.formats import counted, significant
from speechprune.pipeline.dry_run import DryRun, Estimate
from speechprune.pipeline.gpus import PEAK_TFLOPS
from speechprune.pipeline.terminal import printable
from speechprune.reports.run_summary import print_facts

GPU = "H100"
UTILISATIONS = (0.3, 0.1)  # shares of its peak, as in docs/planning.md
FEW_HOURS = 0.01


def show_dry_run(plan: DryRun) -> int:
    """Print a plan; returns the exit code: 2 where the launch would refuse to start."""
    for estimate in plan.estimates:
        print_facts(estimate.step, _facts(estimate))
    console = Console()
    for sentence in plan.refusals:
        line = f"would refuse: {printable(sentence)}"
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print("nothing was started or written", style="dim")
    return 2 if plan.refusals else 0


def _facts(estimate: Estimate) -> Iterator[tuple[str, str]]:
    sample = estimate.sample
    yield "to do", f"{counted(estimate.num_todo, estimate.item)}, {estimate.num_done:,} already there"
    if not (estimate.num_todo or estimate.bytes_read):
        return
    yield "audio", f"{counted(sample.num_all, 'recording')}, {_hours(sample.audio_seconds / 3600)} hours"
    for doubt in _doubts(estimate):
        yield "", doubt
    if total := sum(estimate.tflops.values()):
        stages = {stage: tflops for stage, tflops in estimate.tflops.items() if tflops}
        parts = [f"{stage} {significant(tflops)}" for stage, tflops in stages.items()]
        yield "TFLOPs", f"{significant(total)}: {', '.join(parts)}"
        peak = PEAK_TFLOPS[GPU]
        times = [f"{_hours(total / (peak * share * 3600))} at {share:.0%}" for share in UTILISATIONS]
        yield f"{GPU} hours", f"{' or '.join(times)} of its {peak:g} TFLOPs a second"
        yield (
            "memory of an actor",
            f"{decimal(estimate.actor_bytes)}: decoder in half precision, one prompt; and "
            f"{decimal(round(estimate.samples_bytes))} of samples for a block of recordings",
        )
    num_bytes = (decimal(round(number)) for number in (estimate.bytes_read, estimate.bytes_written))
    yield "bytes", "{} read, {} written".format(*num_bytes)
    if estimate.num_requests:
        yield "S3 requests", f"{estimate.num_requests:,.0f}"


def _hours(hours: float) -> str:
    return f"{hours:,.2f}" if hours >= FEW_HOURS else f"under {FEW_HOURS}"


def _doubts(estimate: Estimate) -> Iterator[str]:
    """Say what the numbers rest on, where that is less than every header and every prompt."""
    sample = estimate.sample
    num_seen = len(sample.recordings) + sample.num_missing
    if num_seen < sample.num_all:
        yield f"{num_seen:,} of them looked at, the rest is extrapolated"
    if sample.num_missing:
        yield f"{sample.num_missing:,} of {num_seen:,} looked at are missing or out of reach"
    if sample.num_unknown:
        yield f"{sample.num_unknown:,} of {num_seen:,} state no length: the mean of the others"
    if sample.num_malformed:
        yield f"{sample.num_malformed:,} more in malformed rows, which become failed rows"
    if estimate.is_prompt_estimated:
        yield "prompts' lengths estimated from their characters: no chat template in the model's folder"
