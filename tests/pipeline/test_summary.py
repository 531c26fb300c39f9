"""The summary of a run: counts, accuracy and cost, from rows written by hand."""

from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.cost import ModelShape, paper_kv_cache_bytes, paper_prefill_flops
from speechprune.data import column_values
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS
from speechprune.data.row_keys import KeySet, hash_rows
from speechprune.models.loading import model_shape
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.summary import Summary, summarise
from speechprune.pipeline.sums import READ_COLUMNS, Sums
from speechprune.reports.run_summary import show_run

SCHEMA = pa.schema([*ITEM_COLUMNS, *ANSWER_COLUMNS])
LAUNCH = {"num_items": 4, "audio_hours": 0.5, "seconds": 90.0}


class Answers:
    """Rows of a run directory that is nowhere."""

    path = "runs/x"

    def __init__(self, ok: list[dict], failed: list[dict]) -> None:
        self._rows = {"ok": ok, "failed": failed}

    def sums(self, status: str, items: KeySet) -> Sums:
        table = pa.Table.from_pylist(self._rows[status], schema=SCHEMA)
        return Sums.of(table.filter(pa.array(items.holds(hash_rows(table, ["item_id"])))))


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    return model_shape("qwen2-audio-7b")


def answer_row(item_id: str, gold: str | None, correct: bool | None, audio: str = "a.wav", **other) -> dict:
    row = dict.fromkeys(SCHEMA.names) | {
        "item_id": item_id,
        "audio": audio,
        "answer": gold,
        "correct": correct,
        "audio_seconds": 1800.0,
        "num_audio_tokens": 2000,
        "num_kept_tokens": 600,
        "num_text_tokens": 107,
        "tflops_prefill": 10.06,
        "tflops_total": 12.5,
        "weights_bytes": 12_950_000_000,
        "kv_cache_bytes": 370_000_000,
        "peak_memory_bytes": int(item_id) * 1_000_000,
        "seconds_encode": 0.25,
    }
    return row | other


@pytest.fixture
def summary(shape) -> Summary:
    ok = [
        answer_row("1", "B", True, evidence_recall=1.0, correct_without_audio=True),
        answer_row("2", "B", False, evidence_recall=0.0, correct_without_audio=False),
        answer_row("3", "A", True, audio="b.wav", audio_seconds=3600.0, evidence_recall=0.5),
        answer_row("4", None, None, audio="b.wav", audio_seconds=3600.0),
        answer_row("5", "B", False, audio="b.wav", start=5.0, audio_seconds=360.0),
        answer_row("99", "C", True, evidence_recall=0.0),  # of another manifest in the same directory
    ]
    kinds = {"6": "AudioSilent", "7": "AudioNotFound", "8": "AudioSilent", "98": "MalformedRow"}
    failed = [dict.fromkeys(SCHEMA.names) | {"item_id": i, "error_type": k} for i, k in kinds.items()]
    return summarise(Answers(ok, failed), KeySet.of((str(i),) for i in range(1, 9)), shape, LAUNCH)


def test_counts_are_of_this_manifests_items(summary):
    values = summary.values
    assert (values["num_items"], values["num_ok"], values["num_failed"]) == (8, 5, 3)
    assert list(values["failures"].items()) == [("AudioSilent", 2), ("AudioNotFound", 1)]
    assert summary.failed_fraction == pytest.approx(3 / 8)


def test_a_recording_counts_once_and_its_slices_apart(summary):
    assert summary.values["num_recordings"] == 3
    assert summary.values["audio_hours"] == pytest.approx((1800 + 3600 + 360) / 3600)


def test_accuracy_is_given_beside_no_audio_and_the_majority_letters(summary, capsys):
    values = summary.values
    assert values["num_judged"] == 4
    assert values["accuracy"] == 0.5
    assert values["accuracy_without_audio"] == 0.5
    assert (values["majority_letter"], values["majority_letter_accuracy"]) == ("B", 0.75)
    show_run(summary)
    assert "50.0% of 4; without audio: 50.0%, always B: 75.0%" in capsys.readouterr().out


def test_evidence_recall_is_the_mean_of_the_items_that_have_one(summary, shape, capsys):
    assert summary.values["evidence_recall_mean"] == pytest.approx(0.5)
    assert summary.values["num_with_evidence_recall"] == 3
    show_run(summary)
    assert "50.0% of the gold evidence's audio tokens kept, mean of 3" in capsys.readouterr().out
    without = summarise(Answers([answer_row("1", "A", True)], []), KeySet.of([("1",)]), shape, LAUNCH)
    assert without.values["evidence_recall_mean"] is None
    show_run(without)
    assert "gold evidence" not in capsys.readouterr().out


def test_cost_is_given_beside_the_same_prompts_unpruned(summary, shape):
    values = summary.values
    assert (values["tokens_kept_mean"], values["tokens_mean"]) == (600, 2000)
    unpruned = paper_prefill_flops(shape.decoder, 2107), paper_kv_cache_bytes(shape.decoder, 2107)
    assert values["tflops_prefill_unpruned_mean"] == pytest.approx(unpruned[0] / 1e12, rel=1e-3)
    assert values["tflops_prefill_mean"] < 0.4 * values["tflops_prefill_unpruned_mean"]
    assert values["memory_gb_mean"] == pytest.approx(13.32)
    assert values["memory_gb_unpruned_mean"] == pytest.approx(12.95 + unpruned[1] / 1e9)
    assert values["totals"]["tflops_total"] == pytest.approx(5 * 12.5)
    assert values["totals"]["seconds_encode"] == pytest.approx(1.25)
    assert values["totals"]["seconds_prune"] == 0.0
    assert values["peak_memory_bytes"] == 5_000_000


def test_what_scoring_by_texts_adds_is_there_unpruned_too(shape):
    """The choices' own tokens, and with calibration a prompt without audio: pruning saves none of these."""
    answer = answer_row("1", None, None, tflops_prefill=20.0)
    values = summarise(Answers([answer], []), KeySet.of([("1",)]), shape, LAUNCH).values
    saved = paper_prefill_flops(shape.decoder, 2000 - 600) / 1e12
    assert values["tflops_prefill_unpruned_mean"] - values["tflops_prefill_mean"] == pytest.approx(saved)


def test_throughput_is_of_this_launch(summary):
    launch = summary.values["this_launch"]
    assert launch["items_per_second"] == pytest.approx(4 / 90)
    assert launch["audio_hours_per_hour"] == pytest.approx(20)


def test_items_without_any_row_count_as_failed(shape):
    summary = summarise(Answers([answer_row("1", "A", True)], []), KeySet.of([("1",), ("2",)]), shape, LAUNCH)
    assert summary.failed_fraction == 0.5


@pytest.mark.parametrize("with_answers", [True, False])
def test_the_table_is_printed_whatever_there_is(shape, capsys, with_answers):
    ok = [answer_row("1", "B", True), answer_row("2", None, None)] if with_answers else []
    nothing = {"num_items": 0, "audio_hours": 0.0, "seconds": 0.0}
    show_run(summarise(Answers(ok, []), KeySet.of([("1",), ("2",)]), shape, nothing))
    printed = capsys.readouterr().out
    assert f"{2 if with_answers else 0} answered, 0 failed" in printed
    assert "runs/x/answers" in printed
    assert ("100.0% of 1; always B: 100.0%" in printed) == with_answers
    assert "without audio" not in printed
    assert ("600 an answer, 2,000 unpruned (30%)" in printed) == with_answers


def test_only_columns_of_the_schema_are_read():
    assert set(READ_COLUMNS) <= set(SCHEMA.names)


def test_use_of_gpus_is_shown_where_there_are_any(shape, capsys):
    ok = [answer_row("1", "B", True)]
    used = {"num_gpus": 4, "gpu_utilisation": 0.83, "model_flops_utilisation": 0.31}
    show_run(summarise(Answers(ok, []), KeySet.of([("1",)]), shape, LAUNCH | used))
    assert "4, at work 83% of the time, 31% of their FLOPs" in capsys.readouterr().out
    show_run(summarise(Answers(ok, []), KeySet.of([("1",)]), shape, LAUNCH))
    assert "GPUs" not in capsys.readouterr().out


GOLD = st.sampled_from(["A", "B", None])
ROWS = st.lists(
    st.tuples(st.floats(-1e9, 1e9) | st.none(), st.sampled_from(["a.wav", "b.wav"]), GOLD, st.booleans()),
    min_size=5,
    max_size=40,
)


@settings(max_examples=12)
@given(ROWS, st.integers(1, 5), st.sets(st.integers(0, 39), max_size=4))
def test_sums_of_files_add_up_to_those_of_all_rows_to_the_bit(tmp_path_factory, drawn, rows_per_file, others):
    """Arrow adds a column chunk by chunk, a file each; rows of other manifests don't count."""
    run = RunStore(str(tmp_path_factory.mktemp("run")))
    rows = [
        answer_row(str(i), gold, gold and is_right, audio, audio_seconds=60.0 + i, evidence_recall=number)
        | {"finished_at": datetime.now(UTC), "tflops_total": number, "num_audio_tokens": i}
        for i, (number, audio, gold, is_right) in enumerate(drawn)
    ]
    for start in range(0, len(rows), rows_per_file):
        run.write_answers("ok", pa.Table.from_pylist(rows[start : start + rows_per_file], schema=SCHEMA))
    ids = [row["item_id"] for i, row in enumerate(rows) if i not in others]
    wanted = KeySet.of((item_id,) for item_id in ids)
    sums = run.sums("ok", wanted)
    table = run.read_answers("ok", SCHEMA.names)
    table = table.filter(pc.is_in(table["item_id"], value_set=pa.array(ids, pa.string())))
    assert (sums.num_rows, sums.counts.get("correct", 0)) == (len(table), pc.count(table["correct"]).as_py())
    for name in ("tflops_total", "evidence_recall", "num_audio_tokens", "seconds_encode"):
        assert (sums.totals.get(name) or None, sums.mean(name)) == (
            pc.sum(table[name]).as_py() or None,
            pc.mean(table[name]).as_py(),
        )
    judged = table.filter(pc.is_valid(table["correct"]))
    assert sums.letters.most_common() == Counter(judged["answer"].to_pylist()).most_common()
    lengths = dict(column_values(table, ("audio", "audio_seconds")))
    assert sums.recording_seconds() == list(lengths.values())
