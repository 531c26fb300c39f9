"""Rows of ``points.parquet``: one a model, benchmark, slice of the items, and point of the grid."""

from __future__ import annotations

import pyarrow as pa


def _column(name: str, kind: pa.DataType, comment: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment, "unit": unit})


# which answers a row is about
KEY_COLUMNS: tuple[pa.Field, ...] = (
    _column("model", pa.string(), "model.path, or one of grid.models"),
    _column("benchmark", pa.string(), "name of the manifest"),
    _column("slice", pa.string(), "all, hard, or a value of what the items are sliced by"),
    _column("point", pa.string(), "method and settings; seeds of a random method are one row"),
    _column("method", pa.string(), "pruning method"),
    _column("pruning_rate", pa.float64(), "null for methods without one"),
    _column("settings", pa.string(), "all settings as JSON, without the seed"),
    _column("num_seeds", pa.int64(), "seeds whose mean this is; 1 for methods without"),
)

ACCURACY_COLUMNS: tuple[pa.Field, ...] = (
    _column("num_items", pa.int64(), "items with a gold letter that every seed answered"),
    _column("num_failed", pa.int64(), "items of the slice that some seed could not answer"),
    _column("accuracy", pa.float64(), "share of right letters, mean over seeds; null without items"),
    _column("accuracy_low", pa.float64(), "lower end of the 95 % interval (Wilson's) over items"),
    _column("accuracy_high", pa.float64(), "its upper end"),
    _column("accuracy_lowest_seed", pa.float64(), "of the seeds"),
    _column("accuracy_highest_seed", pa.float64(), "of the seeds"),
    _column(
        "accuracy_permuted", pa.float64(), "the same with every choice at another letter; null if not asked"
    ),
    _column("accuracy_without_audio", pa.float64(), "the same without any audio; null if not asked"),
    _column("majority_letter_accuracy", pa.float64(), "of always giving the commonest gold letter"),
    _column("evidence_recall", pa.float64(), "mean share of the gold span's audio tokens that were kept"),
)

TEST_COLUMNS: tuple[pa.Field, ...] = (
    _column("reference", pa.string(), "point that this one is tested against; null where there is none"),
    _column("difference", pa.float64(), "accuracy minus the reference's, on the items of both"),
    _column(
        "p_value", pa.float64(), "exact McNemar test against the reference; of several seeds the largest"
    ),
)

COST_COLUMNS: tuple[pa.Field, ...] = (
    _column("num_audio_tokens", pa.float64(), "mean before pruning", "tokens"),
    _column("num_kept_tokens", pa.float64(), "mean in the prompt", "tokens"),
    _column("num_text_tokens", pa.float64(), "mean of the prompt's other tokens", "tokens"),
    _column("tflops_prefill", pa.float64(), "the paper's account, mean an answer", "10^12 FLOPs"),
    _column("memory_bytes", pa.float64(), "the paper's account: weights and KV cache, mean", "bytes"),
    _column("activation_bytes", pa.float64(), "the paper's account, mean", "bytes"),
    _column("tflops_encode", pa.float64(), "whole truth: share of encoding, mean an answer", "10^12 FLOPs"),
    _column("tflops_prune", pa.float64(), "whole truth: pruning", "10^12 FLOPs"),
    _column(
        "tflops_question",
        pa.float64(),
        "whole truth without encoding: what one more question costs",
        "10^12 FLOPs",
    ),
    _column("tflops_total", pa.float64(), "whole truth with encoding", "10^12 FLOPs"),
    _column("is_pareto", pa.bool_(), "no other point of the slice is as accurate for fewer tflops_question"),
)

# measured, so not the same twice; all others are
MEASURED_COLUMNS: tuple[pa.Field, ...] = (
    _column("seconds_decode_audio", pa.float64(), "mean an answer, its share", "s"),
    _column("seconds_encode", pa.float64(), "mean an answer, its share", "s"),
    _column("seconds_prune", pa.float64(), "mean an answer", "s"),
    _column("seconds_prefill", pa.float64(), "mean an answer", "s"),
    _column("seconds_generate", pa.float64(), "mean an answer", "s"),
    _column(
        "prune_share", pa.float64(), "of prune, prefill and generate seconds: pruning's part of an answer"
    ),
    _column("peak_memory_bytes", pa.int64(), "largest", "bytes"),
)

POINTS_SCHEMA = pa.schema([*KEY_COLUMNS, *ACCURACY_COLUMNS, *TEST_COLUMNS, *COST_COLUMNS, *MEASURED_COLUMNS])
