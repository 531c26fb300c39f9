"""Rows out: the schema of an answers file, one comment and a unit per column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

EVIDENCE = pa.list_(pa.struct([("start", pa.float64()), ("end", pa.float64()), ("score", pa.float64())]))


def described_column(name: str, kind: pa.DataType, comment: str, unit: str = "") -> pa.Field:
    """A column that says in the file what it holds, and in which unit."""
    return pa.field(name, kind, metadata={"comment": comment, "unit": unit})


# what the manifest says of an item
ITEM_COLUMNS: tuple[pa.Field, ...] = (
    described_column("item_id", pa.string(), "the manifest's, or a hash of the row"),
    described_column("audio", pa.string(), "URI of the recording"),
    described_column("question", pa.string(), "as asked"),
    described_column(
        "choices", pa.list_(pa.string()), "texts of the choices; null for an open-ended question"
    ),
    described_column("answer", pa.string(), "gold: letter of the choice, or free text"),
    described_column("start", pa.float64(), "begin of the slice of the recording that was asked about", "s"),
    described_column("end", pa.float64(), "end of that slice", "s"),
)

ANSWER_COLUMNS: tuple[pa.Field, ...] = (
    described_column("prediction", pa.string(), "letter of the choice, or generated text"),
    described_column("prediction_text", pa.string(), "text of the choice, or generated text"),
    described_column(
        "choice_probabilities", pa.list_(pa.float64()), "next-token probabilities over the letters"
    ),
    described_column(
        "correct", pa.bool_(), "prediction is the gold letter; null without one, and for free text"
    ),
    described_column(
        "correct_permuted",
        pa.bool_(),
        "the same, asked with every choice at another letter; null unless answering.permuted_check",
    ),
    described_column(
        "correct_without_audio",
        pa.bool_(),
        "the same, asked without any audio; null unless answering.no_audio_baseline",
    ),
    described_column(
        "evidence", EVIDENCE, "spans that phase 1 ranked highest and that survived, best first", "s"
    ),
    described_column(
        "evidence_recall",
        pa.float64(),
        "share of the gold span's audio tokens that were kept; null without one in the slice",
    ),
    described_column("audio_seconds", pa.float64(), "length of the audio that was encoded", "s"),
    described_column("method", pa.string(), "pruning method"),
    described_column("pruning_rate", pa.float64(), "null for methods without one"),
    described_column("num_audio_tokens", pa.int64(), "N, before pruning", "tokens"),
    described_column("num_phase1_tokens", pa.int64(), "left by phase 1; null without one", "tokens"),
    described_column("num_kept_tokens", pa.int64(), "k, in the prompt", "tokens"),
    described_column("num_text_tokens", pa.int64(), "the prompt's other tokens", "tokens"),
    described_column(
        "num_generated_tokens", pa.int64(), "0 where the choices' letters were scored", "tokens"
    ),
    described_column(
        "tflops_prefill", pa.float64(), "the paper's account: LLM prefill without attention", "10^12 FLOPs"
    ),
    described_column(
        "tflops_encode", pa.float64(), "this item's even share of encoding its recording", "10^12 FLOPs"
    ),
    described_column("tflops_prune", pa.float64(), "both phases", "10^12 FLOPs"),
    described_column(
        "tflops_total", pa.float64(), "whole truth: encode, prune, prefill, decode", "10^12 FLOPs"
    ),
    described_column(
        "weights_bytes", pa.int64(), "the paper's account: decoder layers in half precision", "bytes"
    ),
    described_column("kv_cache_bytes", pa.int64(), "the paper's account: of the prompt", "bytes"),
    described_column(
        "activation_bytes", pa.int64(), "the paper's account: one layer's in the prefill", "bytes"
    ),
    described_column(
        "peak_memory_bytes", pa.int64(), "peak of the batch: device on CUDA, process on CPU", "bytes"
    ),
    described_column("seconds_decode_audio", pa.float64(), "even share of its recording's", "s"),
    described_column("seconds_encode", pa.float64(), "even share of its recording's", "s"),
    described_column("seconds_prune", pa.float64(), "even share of its recording's questions'", "s"),
    described_column("seconds_prefill", pa.float64(), "even share of its batch's", "s"),
    described_column(
        "seconds_generate", pa.float64(), "even share of its batch's, after the first token", "s"
    ),
    described_column("model", pa.string(), "model.path"),
    described_column("error_type", pa.string(), "kind of failure; null where answered"),
    described_column("error", pa.string(), "what was wrong and what to do; null where answered"),
    described_column("finished_at", pa.timestamp("us", tz="UTC"), "when the row was made"),
)

# carried columns with a meaning, where the manifest has them: seconds of the recording, float64, between
# which the critical fact is told; both null where that is not known
GOLD_SPAN_COLUMNS = ("evidence_start", "evidence_end")

COLUMN_NAMES = frozenset(field.name for field in (*ITEM_COLUMNS, *ANSWER_COLUMNS))
RESERVED_NAMES = COLUMN_NAMES | {"status"}  # status is the partition: answers/status=ok, status=failed


def answers_table(rows: list[dict[str, Any]], items: pa.Table) -> pa.Table:
    """Rows of answers joined to their items, item columns first, carried columns last.

    Parameters
    ----------
    rows
        One dict of ``ANSWER_COLUMNS`` an item, in the items' order; absent columns become null.
    items
        ``ITEM_COLUMNS`` and whatever other columns the manifest had.
    """
    made = pa.Table.from_pylist(rows, schema=pa.schema(ANSWER_COLUMNS))
    own = items.select([field.name for field in ITEM_COLUMNS]).cast(pa.schema(ITEM_COLUMNS))
    carried = [name for name in items.column_names if name not in COLUMN_NAMES]
    columns = [*own.columns, *made.columns, *(items.column(name) for name in carried)]
    fields = [*own.schema, *made.schema, *(items.schema.field(name) for name in carried)]
    return pa.table(columns, schema=pa.schema(fields))
