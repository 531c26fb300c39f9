"""The tables of ``jobs/bench_cluster.py``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from speechprune.rehearsal.faults import Outcome


def show_faults(outcomes: Sequence[Outcome]) -> None:
    """A line a fault."""
    table = Table(
        "fault",
        "s",
        "exit codes",
        "items",
        "lost",
        "twice",
        "failed",
        "different",
        "largest difference of a probability",
        "S3 requests",
        "served badly",
    )
    for one in outcomes:
        table.add_row(
            one.fault.replace("_", " "),
            f"{one.seconds:.0f}",
            ", ".join(map(str, one.exit_codes)),
            *(f"{n:,}" for n in (one.items, one.lost, one.twice, one.failed, one.different)),
            f"{one.largest_difference:.1e}",
            f"{sum(one.requests.values()):,}",
            f"{one.misbehaved:,}",
        )
    Console().print(table)
