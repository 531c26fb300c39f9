"""Summary of a run: accuracy beside the majority letter, cost beside the unpruned prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechprune.cost import ModelShape, paper_kv_cache_bytes, paper_prefill_flops
from speechprune.data import column_values
from speechprune.data.columns import COLUMNS, RECORDING_COLUMNS, aggregated

# columns that the summary is made from
READ_COLUMNS = (
    "item_id",
    *RECORDING_COLUMNS,
    "answer",
    "correct",
    "correct_without_audio",
    "audio_seconds",
    "num_audio_tokens",
    "num_kept_tokens",
    "num_text_tokens",
    "weights_bytes",
    "kv_cache_bytes",
    *(column.name for column in COLUMNS if column.summary is not None),
)


class AnswersSource(Protocol):
    """Where answers are read from; ``RunStore`` is one."""

    path: str

    def read_answers(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status; null in files that lack one."""


@dataclass(frozen=True)
class Summary:
    """``summary.json`` as a value; ``values`` holds plain numbers, units in the keys."""

    values: dict[str, Any]

    @property
    def failed_fraction(self) -> float:
        """Share of the manifest's items that have no answer."""
        return 1 - self.values["num_ok"] / max(1, self.values["num_items"])


def summarise(
    run: AnswersSource, item_ids: set[str], shape: ModelShape, throughput: dict[str, float]
) -> Summary:
    """Summarise the items of a manifest in a run directory, whichever launch answered them.

    - ``item_ids``: the manifest's items; rows of others in the same directory don't count.
    - ``throughput``: of this launch, see ``Progress``: ``num_items``, ``audio_hours``, ``seconds``, ...
    """
    ids = pa.array(sorted(item_ids), pa.string())
    seconds = throughput["seconds"]
    ok = run.read_answers("ok", list(READ_COLUMNS))
    ok = ok.filter(pc.is_in(ok.column("item_id"), value_set=ids))
    failed = run.read_answers("failed", ["item_id", "error_type"])
    failed = failed.filter(pc.is_in(failed.column("item_id"), value_set=ids))
    recordings = {
        tuple(recording): seconds
        for *recording, seconds in column_values(ok, (*RECORDING_COLUMNS, "audio_seconds"))
    }
    values: dict[str, Any] = {
        "num_items": len(item_ids),
        "num_ok": len(ok),
        "num_failed": len(failed),
        "num_missing": len(item_ids) - len(ok) - len(failed),  # of files that are damaged since
        "failures": dict(Counter(failed.column("error_type").to_pylist()).most_common()),
        "num_recordings": len(recordings),
        "audio_hours": sum(recordings.values()) / 3600,
        **_accuracy(ok),
        "num_with_evidence_recall": pc.count(ok.column("evidence_recall")).as_py(),
        **_cost(ok, shape),
        **{f"{name}_mean": pc.mean(ok.column(name)).as_py() for name in aggregated(summary="mean")},
        **{name: pc.max(ok.column(name)).as_py() for name in aggregated(summary="max")},
        "totals": {name: pc.sum(ok.column(name)).as_py() or 0.0 for name in aggregated(summary="sum")},
        "this_launch": {
            **throughput,
            "items_per_second": throughput["num_items"] / seconds if seconds else None,
            "audio_hours_per_hour": throughput["audio_hours"] * 3600 / seconds if seconds else None,
        },
        "answers": f"{run.path}/answers",
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Summary(values)


def _accuracy(ok: pa.Table) -> dict[str, Any]:
    """Accuracy of the items with a gold letter, beside no audio and always giving the commonest one."""
    judged = ok.filter(pc.is_valid(ok.column("correct")))
    letter, count = next(iter(Counter(judged.column("answer").to_pylist()).most_common(1)), (None, 0))
    return {
        "num_judged": len(judged),
        "accuracy": pc.mean(judged.column("correct")).as_py(),
        "accuracy_without_audio": pc.mean(judged.column("correct_without_audio")).as_py(),
        "majority_letter": letter,
        "majority_letter_accuracy": count / len(judged) if len(judged) else None,
    }


def _cost(ok: pa.Table, shape: ModelShape) -> dict[str, float | None]:
    """Means an answer in the paper's account, and what the same prompts would cost unpruned."""
    names = ("num_audio_tokens", "num_kept_tokens", "num_text_tokens", "weights_bytes", "kv_cache_bytes")
    audio, kept, text, weights, cache = (ok.column(name).to_numpy() for name in names)
    unpruned = [int(number) for number in audio + text]
    unpruned_flops = np.array([paper_prefill_flops(shape.decoder, number) for number in unpruned])
    unpruned_cache = np.array([paper_kv_cache_bytes(shape.decoder, number) for number in unpruned])
    means = {
        "tokens_kept_mean": kept,
        "tokens_mean": audio,
        "tflops_prefill_unpruned_mean": unpruned_flops / 1e12,
        "memory_gb_mean": (weights + cache) / 1e9,
        "memory_gb_unpruned_mean": (weights + unpruned_cache) / 1e9,
    }
    return {name: float(np.mean(values)) if len(ok) else None for name, values in means.items()}
