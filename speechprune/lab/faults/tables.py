"""Tables that ``jobs/bench_cluster.py`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from speechprune.lab.faults.driver import DriverUse
from speechprune.lab.faults.faults import Outcome
from speechprune.lab.faults.kills import Kills
from speechprune.lab.faults.scaling import Scaling
from speechprune.lab.faults.soak import LOOKS, Soak

WIDTH = 120  # no column is cut in a log


def show_faults(outcomes: Sequence[Outcome]) -> None:
    """Print one row per fault."""
    table = Table(
        "fault",
        "s",
        "exits",
        "items",
        "lost",
        "duplicated",
        "failed",
        "other",
        "Δp",
        "S3 requests",
        "faults",
        caption="other: another value in a column that is not a measurement; "
        "Δp: largest difference of a probability; "
        "faults: S3 requests that got one",
    )
    for one in outcomes:
        table.add_row(
            one.fault.replace("_", " "),
            f"{one.seconds:.0f}",
            ", ".join(map(str, one.exit_codes)),
            *(f"{n:,}" for n in (one.items, one.lost, one.duplicated, one.failed, one.different)),
            f"{one.largest_difference:.1e}",
            f"{sum(one.requests.values()):,}",
            f"{one.injected:,}",
        )
    Console(width=WIDTH).print(table)


def show_kills(results: Sequence[Kills]) -> None:
    """Print one row per scene."""
    table = Table("scene", "runs", "kills", "while writing", "exits", "items", "lost", "duplicated", "other")
    for one in results:
        table.add_row(
            one.scene,
            *map(str, (one.runs, one.kills, one.while_writing)),
            ", ".join(map(str, one.exit_codes)),
            *map(str, (one.items, one.lost, one.duplicated, one.different)),
        )
    Console(width=WIDTH).print(table)


def show_driver(uses: Sequence[DriverUse]) -> None:
    """Print one row per launch."""
    table = Table("launch", "items", "answers files", "CPU s", "peak, MB")
    for one in uses:
        counts = f"{one.items:,}", f"{one.files:,}"
        table.add_row(one.launch, *counts, f"{one.cpu_seconds:.1f}", f"{one.peak_bytes / 1e6:,.0f}")
    Console(width=WIDTH).print(table)


def show_scaling(sizes: Sequence[Scaling]) -> None:
    """Print one row per size of cluster."""
    table = Table("nodes", "items", "s", "s at work", "of linear", "overhead an item, s")
    for one in sizes:
        table.add_row(
            str(one.nodes),
            f"{one.items:,}",
            f"{one.seconds:.1f}",
            f"{one.seconds_at_work:.1f}",
            f"{one.share_of_linear:.1%}",
            f"{one.overhead_per_item:.3f}",
        )
    Console().print(table)


def show_soak(result: Soak) -> None:
    """Print one row per role."""
    title = f"{result.items:,} items about {result.recordings:,} recordings in {result.seconds:.0f} s"
    table = Table(
        "process", *(f"MB at {at}" for at in LOOKS), *(f"files at {at}" for at in LOOKS), title=title
    )
    for one in result.growth:
        table.add_row(
            one.role,
            *(f"{size / 1e6:,.0f}" for size in one.memory_bytes.values()),
            *(f"{num:,}" for num in one.files.values()),
        )
    Console(width=WIDTH).print(table)
