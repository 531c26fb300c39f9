"""The summary of a run: accuracy beside the majority letter, cost beside the unpruned prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from speechprune.cost import ModelShape, paper_kv_cache_bytes, paper_prefill_flops

SUMMED_COLUMNS = (
    "seconds_decode_audio",
    "seconds_encode",
    "seconds_prune",
    "seconds_prefill",
    "seconds_generate",
    "tflops_encode",
    "tflops_prune",
    "tflops_total",
)
COLUMNS = [
    "item_id",
    "audio",
    "start",
    "end",
    "answer",
    "correct",
    "correct_without_audio",
    "evidence_recall",
    "audio_seconds",
    "num_audio_tokens",
    "num_kept_tokens",
    "num_text_tokens",
    "tflops_prefill",
    "weights_bytes",
    "kv_cache_bytes",
    "peak_memory_bytes",
    *SUMMED_COLUMNS,
]


class AnswersSource(Protocol):
    """Where answers are read from; ``RunStore`` is one."""

    path: str

    def read_answers(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status; null in files that lack one."""
        ...


@dataclass(frozen=True)
class Summary:
    """``summary.json`` as a value; ``values`` holds plain numbers, units in the keys."""

    values: dict[str, Any]

    @property
    def failed_fraction(self) -> float:
        """Share of the manifest's items that have no answer."""
        return 1 - self.values["num_ok"] / max(1, self.values["num_items"])

    def show(self) -> None:
        """Print the table that ends a run."""
        Console().print(_as_table(self.values))


def summarise(
    run: AnswersSource, item_ids: set[str], shape: ModelShape, throughput: dict[str, float]
) -> Summary:
    """Summarise the items of a manifest in a run directory, whichever launch answered them.

    Parameters
    ----------
    run
        The run directory.
    item_ids
        The manifest's items; rows of others in the same directory don't count.
    shape
        Of the model, for the cost of the unpruned prompt.
    throughput
        Of this launch, see ``Progress``: ``num_items``, ``audio_hours``, ``seconds``, ...
    """
    ids = pa.array(sorted(item_ids), pa.string())
    ok = run.read_answers("ok", COLUMNS)
    ok = ok.filter(pc.is_in(ok.column("item_id"), value_set=ids))
    failed = run.read_answers("failed", ["item_id", "error_type"])
    failed = failed.filter(pc.is_in(failed.column("item_id"), value_set=ids))
    recordings = {
        (r["audio"], r["start"], r["end"]): r["audio_seconds"]
        for r in _rows(ok, "audio", "start", "end", "audio_seconds")
    }
    values: dict[str, Any] = {
        "num_items": len(item_ids),
        "num_ok": len(ok),
        "num_failed": len(failed),
        "failures": dict(Counter(failed.column("error_type").to_pylist()).most_common()),
        "num_recordings": len(recordings),
        "audio_hours": sum(recordings.values()) / 3600,
        **_accuracy(ok),
        "num_with_evidence_recall": pc.count(ok.column("evidence_recall")).as_py(),
        "evidence_recall_mean": pc.mean(ok.column("evidence_recall")).as_py(),
        **_cost(ok, shape),
        "peak_memory_bytes": pc.max(ok.column("peak_memory_bytes")).as_py(),
        "totals": {name: pc.sum(ok.column(name)).as_py() or 0.0 for name in SUMMED_COLUMNS},
        "this_launch": {
            **throughput,
            "items_per_second": throughput["num_items"] / throughput["seconds"]
            if throughput["seconds"]
            else None,
            "audio_hours_per_hour": (
                throughput["audio_hours"] * 3600 / throughput["seconds"] if throughput["seconds"] else None
            ),
        },
        "answers": f"{run.path}/answers",
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Summary(values)


def _rows(table: pa.Table, *columns: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(columns).to_pylist()
    return rows


def _accuracy(ok: pa.Table) -> dict[str, Any]:
    """Accuracy of the items with a gold letter, beside no audio and always giving the commonest one."""
    judged = ok.filter(pc.is_valid(ok.column("correct")))
    if len(judged) == 0:
        return dict.fromkeys(
            ("accuracy", "accuracy_without_audio", "majority_letter", "majority_letter_accuracy")
        ) | {"num_judged": 0}
    letter, count = Counter(judged.column("answer").to_pylist()).most_common(1)[0]
    return {
        "num_judged": len(judged),
        "accuracy": pc.mean(judged.column("correct")).as_py(),
        "accuracy_without_audio": pc.mean(judged.column("correct_without_audio")).as_py(),
        "majority_letter": letter,
        "majority_letter_accuracy": count / len(judged),
    }


def _cost(ok: pa.Table, shape: ModelShape) -> dict[str, Any]:
    """Means an answer in the paper's account, and what the same prompts would cost unpruned."""
    names = (
        "num_audio_tokens",
        "num_kept_tokens",
        "num_text_tokens",
        "tflops_prefill",
        "weights_bytes",
        "kv_cache_bytes",
    )
    if len(ok) == 0:
        return dict.fromkeys(
            (
                "tokens_kept_mean",
                "tokens_mean",
                "tflops_prefill_mean",
                "tflops_prefill_unpruned_mean",
                "memory_gb_mean",
                "memory_gb_unpruned_mean",
            )
        )
    audio, kept, text, tflops, weights, cache = (ok.column(name).to_numpy() for name in names)
    unpruned = audio + text
    return {
        "tokens_kept_mean": float(kept.mean()),
        "tokens_mean": float(audio.mean()),
        "tflops_prefill_mean": float(tflops.mean()),
        "tflops_prefill_unpruned_mean": float(
            np.mean([paper_prefill_flops(shape.decoder, int(n)) for n in unpruned])
        )
        / 1e12,
        "memory_gb_mean": float((weights + cache).mean()) / 1e9,
        "memory_gb_unpruned_mean": float(
            np.mean([int(weights[0]) + paper_kv_cache_bytes(shape.decoder, int(n)) for n in unpruned])
        )
        / 1e9,
    }


def _as_table(values: dict[str, Any]) -> Table:
    table = Table(show_header=False, title="run finished", title_justify="left")
    table.add_column(style="dim")
    table.add_column()

    def row(name: str, text: str) -> None:
        table.add_row(name, text)

    failures = ", ".join(f"{count} {kind}" for kind, count in values["failures"].items())
    row(
        "items",
        f"{values['num_ok']:,} answered, {values['num_failed']:,} failed"
        + (f" ({failures})" if failures else ""),
    )
    row("recordings", f"{values['num_recordings']:,}, {values['audio_hours']:.2f} hours")
    if values["accuracy"] is not None:
        blind = values["accuracy_without_audio"]
        row(
            "accuracy",
            f"{values['accuracy']:.1%} of {values['num_judged']:,}; "
            + ("" if blind is None else f"without audio: {blind:.1%}, ")
            + f"always {values['majority_letter']}: {values['majority_letter_accuracy']:.1%}",
        )
    if values["evidence_recall_mean"] is not None:
        row(
            "evidence recall",
            f"{values['evidence_recall_mean']:.1%} of the gold evidence's audio tokens kept, "
            f"mean of {values['num_with_evidence_recall']:,}",
        )
    if values["tokens_mean"]:
        row("audio tokens", _against(values["tokens_kept_mean"], values["tokens_mean"], ",.0f"))
        row(
            "prefill TFLOPs",
            _against(values["tflops_prefill_mean"], values["tflops_prefill_unpruned_mean"], ".4g"),
        )
        row("memory GB", _against(values["memory_gb_mean"], values["memory_gb_unpruned_mean"], ".4g"))
    launch = values["this_launch"]
    if launch["items_per_second"]:
        row(
            "this launch",
            f"{launch['num_items']:,} items in {launch['seconds']:.1f} s: "
            f"{launch['items_per_second']:.2f} items/s, "
            f"{launch['audio_hours_per_hour']:.0f} hours of audio an hour",
        )
    if "num_gpus" in launch:
        flops = launch.get("model_flops_utilisation")
        row(
            "GPUs",
            f"{launch['num_gpus']:g}, at work {launch['gpu_utilisation']:.0%} of the time"
            + ("" if flops is None else f", {flops:.0%} of their FLOPs"),
        )
    row("answers", values["answers"])
    return table


def _against(pruned: float, unpruned: float, form: str) -> str:
    return f"{pruned:{form}} an answer, {unpruned:{form}} unpruned ({pruned / unpruned:.0%})"
