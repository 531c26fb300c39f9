"""Schema of ``points.parquet``: one row per model, benchmark, slice of the items, and point of the grid."""

from __future__ import annotations

import pyarrow as pa

from speechprune.data.column import arrow_field
from speechprune.data.columns import COLUMNS

# which answers a row is about
KEY_COLUMNS: tuple[pa.Field, ...] = (
    arrow_field("model", pa.string(), "model.path, or one of grid.models"),
    arrow_field("benchmark", pa.string(), "name of the manifest"),
    arrow_field("slice", pa.string(), "all, hard, or a value of what the items are sliced by"),
    arrow_field("point", pa.string(), "method and settings; seeds of a random method are one row"),
    arrow_field("method", pa.string(), "pruning method"),
    arrow_field("pruning_rate", pa.float64(), "null for methods without one"),
    arrow_field("settings", pa.string(), "all settings as JSON, without the seed"),
    arrow_field("num_seeds", pa.int64(), "seeds whose mean this is; 1 for methods without"),
)

ACCURACY_COLUMNS: tuple[pa.Field, ...] = (
    arrow_field("num_items", pa.int64(), "items with a gold letter that every seed answered"),
    arrow_field("num_failed", pa.int64(), "items of the slice that some seed could not answer"),
    arrow_field("accuracy", pa.float64(), "share of right letters, mean over seeds; null without items"),
    arrow_field("accuracy_low", pa.float64(), "lower end of the 95 % interval (Wilson's) over items"),
    arrow_field("accuracy_high", pa.float64(), "its upper end"),
    arrow_field("accuracy_lowest_seed", pa.float64(), "of the seeds"),
    arrow_field("accuracy_highest_seed", pa.float64(), "of the seeds"),
    arrow_field(
        "accuracy_permuted", pa.float64(), "the same with every choice at another letter; null if not asked"
    ),
    arrow_field("accuracy_without_audio", pa.float64(), "the same without any audio; null if not asked"),
    arrow_field("majority_letter_accuracy", pa.float64(), "of always giving the commonest gold letter"),
)

TEST_COLUMNS: tuple[pa.Field, ...] = (
    arrow_field("reference", pa.string(), "point that this one is tested against; null where there is none"),
    arrow_field("difference", pa.float64(), "accuracy minus the reference's, on the items of both"),
    arrow_field(
        "p_value", pa.float64(), "exact McNemar test against the reference; of several seeds the largest"
    ),
)

# computed from several columns of the answers; each stands behind the column named
_COMPUTED = {
    "tflops_prefill": arrow_field(
        "memory_bytes", pa.float64(), "the paper's account: weights and KV cache, mean", "bytes"
    ),
    "tflops_prune": arrow_field(
        "tflops_question",
        pa.float64(),
        "actual FLOPs without encoding: what one more question costs",
        "10^12 FLOPs",
    ),
    "tflops_total": arrow_field(
        "is_pareto", pa.bool_(), "no other point of the slice is as accurate for fewer tflops_question"
    ),
    "seconds_generate": arrow_field(
        "prune_share", pa.float64(), "of prune, prefill and generate seconds: pruning's part of an answer"
    ),
}


def _aggregated(*sections: str) -> list[pa.Field]:
    """Columns that are aggregated over the items of a point, by section; means before maxima."""
    swept = [column for column in COLUMNS if column.sweep is not None and column.section in sections]
    swept.sort(key=lambda column: (sections.index(column.section), column.sweep == "max"))
    fields = ((column.point_field, _COMPUTED.get(column.name)) for column in swept)
    return [field for pair in fields for field in pair if field is not None]


# measured, so they differ from run to run; all others are reproduced exactly
MEASURED_COLUMNS = tuple(_aggregated("measured"))

POINTS_SCHEMA = pa.schema(
    [
        *KEY_COLUMNS,
        *ACCURACY_COLUMNS,
        *_aggregated("accuracy"),
        *TEST_COLUMNS,
        *_aggregated("answer", "tokens", "paper", "actual", "provenance"),
        *MEASURED_COLUMNS,
    ]
)
