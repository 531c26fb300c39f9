"""Summary of a run: accuracy beside the majority letter, cost beside the unpruned prompt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa

from speechprune.cost import ModelShape, paper_kv_cache_bytes, paper_prefill_flops
from speechprune.data.columns import aggregated
from speechprune.data.row_keys import KeySet
from speechprune.pipeline.sums import TOKENS, Sums


class AnswersSource(Protocol):
    """Where answers are read from; ``RunStore`` is one."""

    path: str

    def read_answers(self, status: str, columns: list[str]) -> pa.Table:
        """Some columns of all rows of a status."""

    def sums(self, status: str, items: KeySet) -> Sums:
        """Sums over the rows of some items."""


@dataclass(frozen=True)
class Summary:
    """``summary.json`` as a value; ``values`` holds plain numbers, units in the keys."""

    values: dict[str, Any]

    @property
    def failed_fraction(self) -> float:
        """Share of the manifest's items that have no answer."""
        return 1 - self.values["num_ok"] / max(1, self.values["num_items"])


def summarise(run: AnswersSource, items: KeySet, shape: ModelShape, throughput: dict[str, float]) -> Summary:
    """Summarise the items of a manifest in a run directory, whichever launch answered them.

    - ``items``: the manifest's, by ``item_id``; rows of others in the same directory don't count.
    - ``throughput``: of this launch, see ``Progress``: ``num_items``, ``audio_hours``, ``seconds``, ...
    """
    seconds = throughput["seconds"]
    ok, failed = run.sums("ok", items), run.sums("failed", items)
    recording_seconds = ok.recording_seconds()
    values: dict[str, Any] = {
        "num_items": len(items),
        "num_ok": ok.num_rows,
        "num_failed": failed.num_rows,
        "num_missing": len(items) - ok.num_rows - failed.num_rows,  # of files that are damaged since
        "failures": dict(failed.failures.most_common()),
        "num_recordings": len(recording_seconds),
        "audio_hours": sum(recording_seconds) / 3600,
        **_accuracy(ok),
        "num_with_evidence_recall": ok.counts.get("evidence_recall", 0),
        **_cost(ok, shape),
        **{f"{name}_mean": ok.mean(name) for name in aggregated(summary="mean")},
        **{name: ok.largest.get(name) for name in aggregated(summary="max")},
        "totals": {name: ok.totals.get(name) or 0.0 for name in aggregated(summary="sum")},
        "this_launch": {
            **throughput,
            "items_per_second": throughput["num_items"] / seconds if seconds else None,
            "audio_hours_per_hour": throughput["audio_hours"] * 3600 / seconds if seconds else None,
        },
        "answers": f"{run.path}/answers",
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Summary(values)


def _accuracy(ok: Sums) -> dict[str, Any]:
    """Accuracy of the items with a gold letter, beside no audio and always giving the commonest one."""
    num_judged = ok.counts.get("correct", 0)
    letter, count = next(iter(ok.letters.most_common(1)), (None, 0))
    return {
        "num_judged": num_judged,
        "accuracy": ok.mean("correct"),
        "accuracy_without_audio": ok.mean("correct_without_audio"),
        "majority_letter": letter,
        "majority_letter_accuracy": count / num_judged if num_judged else None,
    }


def _cost(ok: Sums, shape: ModelShape) -> dict[str, float | None]:
    """Means an answer in the paper's account, and what the same prompts would cost unpruned.

    Those costs are proportional to the number of tokens, so all prompts without pruning cost as much more as
    one of all pruned tokens.
    """
    audio, kept, text, weights, cache = (ok.totals.get(name, 0) for name in TOKENS)
    unpruned_flops = ok.totals.get("tflops_prefill", 0) * 1e12 + paper_prefill_flops(
        shape.decoder, audio - kept
    )
    unpruned_cache = paper_kv_cache_bytes(shape.decoder, audio + text)
    totals = {
        "tokens_kept_mean": (kept, 1),
        "tokens_mean": (audio, 1),
        "tflops_prefill_unpruned_mean": (unpruned_flops, 10**12),
        "memory_gb_mean": (weights + cache, 10**9),
        "memory_gb_unpruned_mean": (weights + unpruned_cache, 10**9),
    }
    number = ok.num_rows
    return {name: total / (number * unit) if number else None for name, (total, unit) in totals.items()}
