"""The one list of answer columns: schema, rows, summaries, points, reports and docs derive from it.

To add a column, add one entry to ``COLUMNS`` and run ``python -m speechprune.reports.columns_page``.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from speechprune.data.column import FLOAT, INT, TEXT, Column, ReportCell
from speechprune.data.formats import percent

EVIDENCE = pa.list_(pa.struct([("start", FLOAT), ("end", FLOAT), ("score", FLOAT)]))
_SMALL = pa.float32()
TIMELINE = pa.list_(pa.struct([("start", FLOAT), ("end", FLOAT), ("kept", _SMALL), ("score", _SMALL)]))
# headings of a sweep's report
TOKENS, PAPER, ACTUAL = "audio tokens", "the paper's account", "actual TFLOPs"

# families of columns that differ in little but what they count
_item = partial(Column, section="item", status="both")
_provenance = partial(Column, section="provenance", status="both")
_judged = partial(Column, type=pa.bool_(), section="accuracy")
_tokens = partial(Column, type=INT, unit="tokens", section="tokens")
_mean_tokens = partial(_tokens, sweep="mean")
_paper_bytes = partial(Column, type=INT, unit="bytes", section="paper")
_actual_tflops = partial(
    Column, type=FLOAT, unit="10^12 FLOPs", section="actual", summary="sum", sweep="mean"
)
_seconds = partial(Column, type=FLOAT, unit="s", section="measured", summary="sum", sweep="mean")

COLUMNS: tuple[Column, ...] = (
    _item("item_id", "the manifest's, or a hash of the row"),
    _item("audio", "URI of the recording"),
    _item("question", "as asked"),
    _item("choices", "texts of the choices; null for an open-ended question", type=pa.list_(TEXT)),
    _item("answer", "gold: letter of the choice, or free text"),
    _item("start", "start of the slice of the recording that was asked about", type=FLOAT, unit="s"),
    _item("end", "end of that slice", type=FLOAT, unit="s"),
    _item("track", "number of the audio track, from 0; null for the file's default", type=INT),
    Column("prediction", "letter of the choice, or generated text", lambda r: r.answer.prediction),
    Column("prediction_text", "text of the choice, or generated text", lambda r: r.answer.prediction_text),
    Column(
        "choice_probabilities",
        "by letters, the next token's over them; by answering.scoring=texts, or texts_per_token, the softmax "
        "of the texts' log likelihoods, summed or per token",
        lambda r: r.answer.choice_probabilities,
        type=pa.list_(FLOAT),
    ),
    _judged(
        "correct",
        "prediction is the gold letter; null without one, and for free text",
        lambda r: r.is_gold(r.answer.prediction),
    ),
    _judged(
        "correct_permuted",
        "the same, asked with every choice at another letter; null unless answering.permuted_check",
        lambda r: r.is_gold(r.answer.permuted_prediction),
    ),
    _judged(
        "correct_without_audio",
        "the same, asked without any audio; null unless answering.no_audio_baseline",
        lambda r: r.is_gold(r.no_audio_prediction),
    ),
    Column(
        "evidence",
        "spans that phase 1 ranked highest and that survived, best first; of DiVA whole windows",
        lambda r: [vars(span) for span in r.answer.evidence],
        type=EVIDENCE,
        unit="s",
    ),
    Column(
        "evidence_text",
        "transcript of each span; null unless the model is a cascade, or answering.transcribe_evidence",
        lambda r: r.answer.evidence_text,
        type=pa.list_(TEXT),
    ),
    Column(
        "timeline",
        "the recording in at most 240 parts: the share of each part's audio tokens that were kept, and their "
        "mean score by phase 1; the score is null for methods that don't look at the question",
        lambda r: [vars(part) for part in r.answer.timeline],
        type=TIMELINE,
        unit="s",
    ),
    Column(
        "evidence_recall",
        "share of the gold span's audio tokens that were kept; null without one in the slice, and of DiVA, "
        "whose tokens have no time inside a window",
        lambda r: r.evidence_recall,
        "mean share of the gold span's audio tokens that were kept",
        ReportCell(TOKENS, "of gold span, %", percent, place=1),
        type=FLOAT,
        section="accuracy",
        summary="mean",
        sweep="mean",
    ),
    Column(
        "audio_seconds",
        "length of the recording, or of the slice of it",
        lambda r: None if r.audio is None else r.audio.seconds,
        type=FLOAT,
        unit="s",
        section="tokens",
        status="both",
    ),
    _provenance("method", "pruning method", lambda r: r.point.method.name),
    _provenance("pruning_rate", "null for methods without one", lambda r: r.point.method.rate, type=FLOAT),
    _mean_tokens(
        "num_audio_tokens", "N, before pruning", lambda r: r.answer.num_audio_tokens, "mean before pruning"
    ),
    _tokens("num_phase1_tokens", "left by phase 1; null without one", lambda r: r.answer.num_phase1_tokens),
    _mean_tokens(
        "num_kept_tokens",
        "k, in the prompt",
        lambda r: r.answer.num_kept_tokens,
        "mean in the prompt",
        ReportCell(TOKENS, "kept", "{:,.0f}".format),
    ),
    _mean_tokens(
        "num_text_tokens",
        "the prompt's other tokens",
        lambda r: r.answer.num_text_tokens,
        "mean of the prompt's other tokens",
    ),
    _tokens(
        "num_generated_tokens",
        "0 where choices were scored",
        lambda r: r.answer.num_generated_tokens,
    ),
    Column(
        "tflops_prefill",
        "the paper's account: LLM prefill without attention, of choices too where their texts were scored",
        lambda r: r.answer.cost.tflops_prefill,
        "the paper's account, mean an answer",
        ReportCell(PAPER, "TFLOPs"),
        type=FLOAT,
        unit="10^12 FLOPs",
        section="paper",
        summary="mean",
        sweep="mean",
    ),
    _actual_tflops(
        "tflops_encode",
        "this item's even share of encoding its recording",
        lambda r: r.answer.cost.tflops_encode,
        "actual FLOPs: share of encoding, mean an answer",
        ReportCell(ACTUAL, "encode"),
    ),
    _actual_tflops(
        "tflops_prune",
        "both phases",
        lambda r: r.answer.cost.tflops_prune,
        "actual FLOPs: pruning",
        ReportCell(ACTUAL, "prune"),
    ),
    _actual_tflops(
        "tflops_total",
        "actual FLOPs: encode, prune, prefill, decode",
        lambda r: r.answer.cost.tflops_total,
        "actual FLOPs with encoding",
        ReportCell(ACTUAL, "total", place=2),
    ),
    _paper_bytes(
        "weights_bytes",
        "the paper's account: decoder layers in half precision",
        lambda r: r.answer.cost.weights_bytes,
    ),
    _paper_bytes(
        "kv_cache_bytes", "the paper's account: of the prompt", lambda r: r.answer.cost.kv_cache_bytes
    ),
    _paper_bytes(
        "activation_bytes",
        "the paper's account: one layer's in the prefill",
        lambda r: r.answer.cost.activation_bytes,
        "the paper's account, mean",
        ReportCell(PAPER, "activations, GB", "{:.2g}".format, 1e-9, place=2),
        sweep="mean",
    ),
    Column(
        "peak_memory_bytes",
        "peak of the batch: device on CUDA, process on CPU",
        lambda r: r.answer.peak_memory_bytes,
        "largest",
        type=INT,
        unit="bytes",
        section="measured",
        summary="max",
        sweep="max",
    ),
    _seconds(
        "seconds_decode_audio",
        "even share of its recording's",
        lambda r: r.seconds_decode_audio,
        "mean an answer, its share",
        status="both",
    ),
    _seconds(
        "seconds_encode",
        "even share of its recording's",
        lambda r: r.answer.seconds_encode,
        "mean an answer, its share",
    ),
    _seconds(
        "seconds_prune",
        "even share of its recording's questions'",
        lambda r: r.answer.seconds_prune,
        "mean an answer",
    ),
    _seconds(
        "seconds_prefill",
        "even share of its batch's",
        lambda r: r.answer.seconds_prefill,
        "mean an answer",
        ReportCell(PAPER, "prefill, ms", scale=1e3),
    ),
    _seconds(
        "seconds_generate",
        "even share of its batch's, after the first token",
        lambda r: r.answer.seconds_generate,
        "mean an answer",
    ),
    _provenance("model", "model.path", lambda r: r.model_name),
    Column(
        "error_type", "kind of failure; null where answered", lambda r: r.failure.error_type, status="failed"
    ),
    Column(
        "error",
        "what was wrong and what to do; null where answered",
        lambda r: r.failure.error,
        status="failed",
    ),
    _provenance(
        "finished_at", "when the row was made", lambda r: r.finished_at, type=pa.timestamp("us", tz="UTC")
    ),
)

# carried columns with a meaning, where the manifest has them: seconds of the recording, float64, between
# which the critical fact is spoken; both null where that is not known
GOLD_SPAN_COLUMNS = ("evidence_start", "evidence_end")

RECORDING_COLUMNS = ("audio", "start", "end", "track")  # what items share that are answered from one decode
ITEM_COLUMNS = tuple(column.field for column in COLUMNS if column.section == "item")
ANSWER_COLUMNS = tuple(column.field for column in COLUMNS if column.section != "item")
COLUMN_NAMES = frozenset(column.name for column in COLUMNS)
RESERVED_NAMES = COLUMN_NAMES | {"status"}  # status is the partition: answers/status=ok, status=failed


def aggregated(*, summary: str | None = None, sweep: str | None = None) -> list[str]:
    """Names of the columns that a run's summary, or a sweep, aggregates in this way."""
    return [c.name for c in COLUMNS if summary in (None, c.summary) and sweep in (None, c.sweep)]
