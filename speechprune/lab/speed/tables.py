"""The speed benchmark's tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 120  # no column is cut in a log


def show_speed(results: dict[str, Any]) -> None:
    """Print the tables of ``jobs/bench.py``."""
    console = Console(width=WIDTH)
    model, machine = results["model"], results["machine"]
    console.print(f"{model['parameters'] / 1e6:.0f} M parameters, {model['dtype']}, {machine['cores']} cores")
    table = Table(
        "questions",
        "Hugging Face loop s",
        "ours s",
        "speed-up",
        "by FLOPs",
        "share",
        title="(1) 90 s recording",
    )
    for row in results["against_hugging_face"]:
        table.add_row(
            str(row["questions"]),
            f"{row['seconds_hugging_face']:.2f}",
            f"{row['seconds_ours']:.2f}",
            f"{row['speed_up']:.2f}",
            f"{row['speed_up_predicted_by_flops']:.2f}",
            f"{row['share_of_prediction']:.0%}",
        )
    console.print(table)
    ray = results["ray_overhead"]
    table = Table(
        "items", "direct s", "Ray job s", "overhead", title="(2) start to end, model loading included"
    )
    table.add_row(
        str(ray["items"]),
        f"{ray['seconds_direct']:.1f}",
        f"{ray['seconds_ray']:.1f}",
        f"{ray['overhead']:+.1%}",
    )
    console.print(table)
    table = Table("questions", "of FLOPs", "of time", title="(3) pruning itself")
    for row in results["pruning_share"]:
        table.add_row(str(row["questions"]), f"{row['share_of_flops']:.2%}", f"{row['share_of_seconds']:.2%}")
    console.print(table)
    table = Table(
        "audio s",
        "tokens",
        "encode s",
        "encode s an hour",
        "answer s",
        "prune s",
        "peak MB",
        title="(4) length",
    )
    for row in results["against_length"]:
        table.add_row(
            f"{row['audio_seconds']:.0f}",
            f"{row['audio_tokens']:,}",
            f"{row['seconds_encode']:.2f}",
            f"{row['seconds_encode_per_audio_hour']:.1f}",
            f"{row['seconds_answer']:.3f}",
            f"{row['seconds_prune']:.3f}",
            f"{row['peak_memory_bytes'] / 1e6:,.0f}",
        )
    console.print(table)
    table = Table(
        "audio s",
        "decode s",
        "encode s",
        "prune s",
        "prefill s",
        "s an hour of audio",
        "peak MB of a worker",
        "samples MB",
        title="(5) through the job, demo model",
    )
    for row in results["long_recordings"]:
        table.add_row(
            f"{row['audio_seconds']:,.0f}",
            f"{row['seconds_decode_audio']:.2f}",
            f"{row['seconds_encode']:.2f}",
            f"{row['seconds_prune']:.2f}",
            f"{row['seconds_prefill']:.2f}",
            f"{row['seconds_per_audio_hour']:.1f}",
            f"{row['peak_worker_bytes'] / 1e6:,.0f}",
            f"{row['samples_bytes'] / 1e6:,.0f}",
        )
    console.print(table)


def show_questions_in_turn(row: dict[str, Any]) -> None:
    """Print a table of ``jobs/bench_index.py``."""
    table = Table(
        "runs",
        "make index s",
        "from index s",
        "without s",
        "gain",
        "by FLOPs",
        "share",
        title=f"(2) a question a run about each of {row['recordings']} recordings of "
        f"{row['audio_seconds']:.0f} s; {row['runs_without']} of the runs made without index",
    )
    table.add_row(
        str(row["runs"]),
        *(f"{row[name]:.1f}" for name in ("seconds_index", "seconds_from_index", "seconds_without")),
        f"{row['gain']:.2f}",
        f"{row['gain_predicted_by_flops']:.2f}",
        f"{row['share_of_prediction']:.0%}",
    )
    Console(width=WIDTH).print(table)


def show_two_nodes(row: dict[str, Any]) -> None:
    """Print a table of ``jobs/bench_index.py``."""
    table = Table(
        "audio s",
        "windows by node",
        "s",
        "peak MB of a worker",
        "samples MB",
        title="(1) two nodes, demo model",
    )
    table.add_row(
        f"{row['audio_seconds']:,.0f}",
        " + ".join(map(str, row["windows_by_node"])),
        f"{row['seconds']:.1f}",
        f"{row['peak_worker_bytes'] / 1e6:,.0f}",
        f"{row['samples_bytes'] / 1e6:,.0f}",
    )
    Console(width=WIDTH).print(table)
