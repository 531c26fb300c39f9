"""Tables of the GPU benchmark, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
Column = tuple[str, str, str]  # heading, key of the row, format

ANSWERS: tuple[Column, ...] = (
    ("audio s", "audio_seconds", ",.0f"),
    ("questions", "questions", ""),
    ("recordings", "recordings", ""),
    ("by", "way", ""),
    ("ms a question", "seconds_per_question", "ms"),
    ("speed-up", "speed_up", ".1f"),
    ("by FLOPs", "by_flops", ".1f"),
    ("share", "share_of_prediction", ".0%"),
    ("by FLOPs done", "by_causal_flops", ".1f"),
    ("share", "share_of_done", ".0%"),
    ("pruning", "prune_share", ".1%"),
    ("peak GB", "peak_gb", ".1f"),
)
TABLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "limits": (
        "The card's own limits",
        (
            ("what", "what", ""),
            ("TFLOP/s", "tflops_per_second", ".0f"),
            ("GB/s read and written", "gigabytes_per_second", ",.0f"),
        ),
    ),
    "prefill": (
        "Prefill",
        (
            ("tokens", "tokens", ""),
            ("prompts", "batch", ""),
            ("ms a prompt", "ms_per_prompt", ".1f"),
            ("Table I, ms", "table_i_ms", ""),
            ("of the matrix rate", "share_of_matrix_rate", ".0%"),
            ("peak GB", "peak_gb", ".1f"),
            ("account GB", "account_gb", ".1f"),
        ),
    ),
    "encoder": (
        "Encoder, windows of 30 s",
        (
            ("batch", "batch", ""),
            ("windows/s from samples", "windows_per_second", ".0f"),
            ("of the matrix rate", "share_of_matrix_rate", ".0%"),
            ("windows/s alone", "windows_per_second_alone", ".0f"),
            ("of the matrix rate", "share_alone", ".0%"),
            ("log-mel on host, ms a window", "log_mel_host_ms", ".1f"),
            ("on card", "log_mel_card_ms", ".1f"),
            ("peak GB", "peak_gb", ".1f"),
        ),
    ),
    "generation": (
        "Open-ended answers",
        (
            ("batch", "batch", ""),
            ("by", "way", ""),
            ("tokens/s", "tokens_per_second", ",.0f"),
            ("limit by weights and cache", "limit", ",.0f"),
            ("share", "share_of_limit", ".0%"),
            ("limit by weights", "limit_by_weights", ",.0f"),
            ("tokens/s with prefill", "tokens_per_second_whole", ",.0f"),
            ("peak GB", "peak_gb", ".1f"),
        ),
    ),
    "answers": ("Answers from samples", ANSWERS),
    "pruning": (
        "Pruning alone",
        (
            ("audio s", "audio_seconds", ",.0f"),
            ("questions", "questions", ""),
            ("method", "method", ""),
            ("ms a question", "ms_per_question", ".2f"),
            ("ms by FLOPs", "ms_by_flops", ".3f"),
        ),
    ),
    "agreement": ("Numbers", (("what", "what", ""), ("value", "value", ".2g"))),
    "fit": (
        "Seconds by the FLOPs account",
        (
            ("stage", "stage", ""),
            ("TFLOPs", "tflops", ".1f"),
            ("ms", "ms", ".1f"),
            ("fitted", "fitted_ms", ".1f"),
            ("residual", "residual", "+.0%"),
        ),
    ),
    "profile": (
        "Kernels by time, layers compiled",
        (
            ("stage", "stage", ""),
            ("kernel", "kernel", ""),
            ("ms", "ms", ".1f"),
            ("count", "count", ""),
            ("of wall time", "share", ".0%"),
        ),
    ),
    "compiled": (
        "Layers compiled",
        (
            ("stage", "stage", ""),
            ("ms before", "ms_before", ".1f"),
            ("ms compiled", "ms_compiled", ".1f"),
            ("of the matrix rate before", "share_before", ".0%"),
            ("compiled", "share_compiled", ".0%"),
            ("s to compile both", "seconds_to_compile_both", ".1f"),
        ),
    ),
    "compiled_answers": ("Answers by compiled layers", ANSWERS),
}


def as_markdown(results: dict[str, Any]) -> str:
    """All tables of a run, headed by its machine."""
    machine = results["machine"]
    lines = [
        f"{machine['card']}, {machine['cores']} CPU cores, torch {machine['torch']}, transformers "
        f"{machine['transformers']}; {machine['parameters'] / 1e9:.1f} B parameters, {machine['dtype']}; "
        f"{results['seconds']:.0f} s in all."
    ]
    for name, (title, columns) in TABLES.items():
        if name in results:
            lines += ["", f"### {title}", "", *_table(columns, results[name]["rows"])]
    return "\n".join(lines)


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    lines = [
        "| " + " | ".join(heading for heading, _, _ in columns) + " |",
        "| " + " | ".join("---" for _ in columns) + " |",
    ]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(key), form) for _, key, form in columns) + " |")
    return lines


def _cell(value: Any, form: str) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.1f}" if form == "ms" else f"{value:{form}}"


def progress_line(row: Row) -> str:
    """A row as one line of a log."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if value is not None
    )
