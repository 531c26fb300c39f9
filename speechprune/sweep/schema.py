"""Rows of ``points.parquet``: one a model, benchmark, slice of the items, and point of the grid."""

from __future__ import annotations

import pyarrow as pa

from speechprune.data.columns import described_column

# which answers a row is about
KEY_COLUMNS: tuple[pa.Field, ...] = (
    described_column("model", pa.string(), "model.path, or one of grid.models"),
    described_column("benchmark", pa.string(), "name of the manifest"),
    described_column("slice", pa.string(), "all, hard, or a value of what the items are sliced by"),
    described_column("point", pa.string(), "method and settings; seeds of a random method are one row"),
    described_column("method", pa.string(), "pruning method"),
    described_column("pruning_rate", pa.float64(), "null for methods without one"),
    described_column("settings", pa.string(), "all settings as JSON, without the seed"),
    described_column("num_seeds", pa.int64(), "seeds whose mean this is; 1 for methods without"),
)

ACCURACY_COLUMNS: tuple[pa.Field, ...] = (
    described_column("num_items", pa.int64(), "items with a gold letter that every seed answered"),
    described_column("num_failed", pa.int64(), "items of the slice that some seed could not answer"),
    described_column("accuracy", pa.float64(), "share of right letters, mean over seeds; null without items"),
    described_column("accuracy_low", pa.float64(), "lower end of the 95 % interval (Wilson's) over items"),
    described_column("accuracy_high", pa.float64(), "its upper end"),
    described_column("accuracy_lowest_seed", pa.float64(), "of the seeds"),
    described_column("accuracy_highest_seed", pa.float64(), "of the seeds"),
    described_column(
        "accuracy_permuted", pa.float64(), "the same with every choice at another letter; null if not asked"
    ),
    described_column("accuracy_without_audio", pa.float64(), "the same without any audio; null if not asked"),
    described_column("majority_letter_accuracy", pa.float64(), "of always giving the commonest gold letter"),
    described_column(
        "evidence_recall", pa.float64(), "mean share of the gold span's audio tokens that were kept"
    ),
)

TEST_COLUMNS: tuple[pa.Field, ...] = (
    described_column(
        "reference", pa.string(), "point that this one is tested against; null where there is none"
    ),
    described_column("difference", pa.float64(), "accuracy minus the reference's, on the items of both"),
    described_column(
        "p_value", pa.float64(), "exact McNemar test against the reference; of several seeds the largest"
    ),
)

COST_COLUMNS: tuple[pa.Field, ...] = (
    described_column("num_audio_tokens", pa.float64(), "mean before pruning", "tokens"),
    described_column("num_kept_tokens", pa.float64(), "mean in the prompt", "tokens"),
    described_column("num_text_tokens", pa.float64(), "mean of the prompt's other tokens", "tokens"),
    described_column("tflops_prefill", pa.float64(), "the paper's account, mean an answer", "10^12 FLOPs"),
    described_column(
        "memory_bytes", pa.float64(), "the paper's account: weights and KV cache, mean", "bytes"
    ),
    described_column("activation_bytes", pa.float64(), "the paper's account, mean", "bytes"),
    described_column(
        "tflops_encode", pa.float64(), "whole truth: share of encoding, mean an answer", "10^12 FLOPs"
    ),
    described_column("tflops_prune", pa.float64(), "whole truth: pruning", "10^12 FLOPs"),
    described_column(
        "tflops_question",
        pa.float64(),
        "whole truth without encoding: what one more question costs",
        "10^12 FLOPs",
    ),
    described_column("tflops_total", pa.float64(), "whole truth with encoding", "10^12 FLOPs"),
    described_column(
        "is_pareto", pa.bool_(), "no other point of the slice is as accurate for fewer tflops_question"
    ),
)

# measured, so not the same twice; all others are
MEASURED_COLUMNS: tuple[pa.Field, ...] = (
    described_column("seconds_decode_audio", pa.float64(), "mean an answer, its share", "s"),
    described_column("seconds_encode", pa.float64(), "mean an answer, its share", "s"),
    described_column("seconds_prune", pa.float64(), "mean an answer", "s"),
    described_column("seconds_prefill", pa.float64(), "mean an answer", "s"),
    described_column("seconds_generate", pa.float64(), "mean an answer", "s"),
    described_column(
        "prune_share", pa.float64(), "of prune, prefill and generate seconds: pruning's part of an answer"
    ),
    described_column("peak_memory_bytes", pa.int64(), "largest", "bytes"),
)

POINTS_SCHEMA = pa.schema([*KEY_COLUMNS, *ACCURACY_COLUMNS, *TEST_COLUMNS, *COST_COLUMNS, *MEASURED_COLUMNS])
