"""Tables of the speed benchmarks; a column is a heading, a key of the row, and a format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 120  # no column is cut in a log
MB = "MB"  # format of bytes
Column = tuple[str, str, str]

HUGGING_FACE: tuple[Column, ...] = (
    ("questions", "questions", ""),
    ("pruning rate", "pruning_rate", ""),
    ("Hugging Face loop", "hugging_face", ""),
    ("s", "seconds_hugging_face", ".2f"),
    ("ours s", "seconds_ours", ".2f"),
    ("speed-up", "speed_up", ".2f"),
    ("by FLOPs", "speed_up_predicted_by_flops", ".2f"),
    ("share", "share_of_prediction", ".0%"),
)
RAY: tuple[Column, ...] = (
    ("items", "items", ""),
    ("direct s", "seconds_direct", ".1f"),
    ("Ray job s", "seconds_ray", ".1f"),
    ("overhead", "overhead", "+.1%"),
)
PRUNING: tuple[Column, ...] = (
    ("questions", "questions", ""),
    ("pruning rate", "pruning_rate", ""),
    ("of FLOPs", "share_of_flops", ".2%"),
    ("of time", "share_of_seconds", ".2%"),
)
LENGTH: tuple[Column, ...] = (
    ("audio s", "audio_seconds", ".0f"),
    ("tokens", "audio_tokens", ",d"),
    ("encode s", "seconds_encode", ".2f"),
    ("encode s per hour", "seconds_encode_per_audio_hour", ".1f"),
    ("answer s", "seconds_answer", ".3f"),
    ("prune s", "seconds_prune", ".3f"),
    ("peak MB", "peak_memory_bytes", MB),
)
WORKER: tuple[Column, ...] = (
    ("peak MB of a worker", "peak_worker_bytes", MB),
    ("samples MB", "samples_bytes", MB),
)
LONG_RECORDINGS: tuple[Column, ...] = (
    ("audio s", "audio_seconds", ",.0f"),
    ("decode s", "seconds_decode_audio", ".2f"),
    ("encode s", "seconds_encode", ".2f"),
    ("prune s", "seconds_prune", ".2f"),
    ("prefill s", "seconds_prefill", ".2f"),
    ("s per hour of audio", "seconds_per_audio_hour", ".1f"),
    *WORKER,
)
IN_TURN: tuple[Column, ...] = (
    ("runs", "runs", ""),
    ("make index s", "seconds_index", ".1f"),
    ("from index s", "seconds_from_index", ".1f"),
    ("without s", "seconds_without", ".1f"),
    ("gain", "gain", ".2f"),
    ("by FLOPs", "gain_predicted_by_flops", ".2f"),
    ("share", "share_of_prediction", ".0%"),
)
TWO_NODES: tuple[Column, ...] = (
    ("audio s", "audio_seconds", ",.0f"),
    ("windows by node", "windows_by_node", ""),
    ("s", "seconds", ".1f"),
    *WORKER,
)


def show_speed(results: dict[str, Any]) -> None:
    """Print the tables of ``jobs/bench.py``."""
    model, machine = results["model"], results["machine"]
    print(f"{model['parameters'] / 1e6:.0f} M parameters, {model['dtype']}, {machine['cores']} cores")
    _show("(1) 90 s recording", HUGGING_FACE, results["against_hugging_face"])
    _show("(2) start to end, model loading included", RAY, [results["ray_overhead"]])
    _show("(3) pruning itself", PRUNING, results["pruning_share"])
    _show("(4) length", LENGTH, results["against_length"])
    _show("(5) through the job, demo model", LONG_RECORDINGS, results["long_recordings"])


def show_questions_in_turn(row: dict[str, Any]) -> None:
    """Print the table of questions asked from the index and without it."""
    title = (
        f"(2) one question per run about each of {row['recordings']} recordings of "
        f"{row['audio_seconds']:.0f} s; {row['runs_without']} of the runs made without index"
    )
    _show(title, IN_TURN, [row])


def show_two_nodes(row: dict[str, Any]) -> None:
    """Print the table of a long recording on two nodes."""
    _show("(1) two nodes, demo model", TWO_NODES, [row])


def _show(title: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*(heading for heading, _, _ in columns), title=title)
    for row in rows:
        table.add_row(*(_cell(row[key], form) for _, key, form in columns))
    Console(width=WIDTH).print(table)


def _cell(value: Any, form: str) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return f"{value / 1e6:,.0f}" if form == MB else f"{value:{form}}"
