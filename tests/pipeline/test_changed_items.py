"""Answers are kept for what they were given to: an id that now stands for something else is refused."""

import datetime

import pyarrow as pa
import pytest

from speechprune.data.answer_rows import answers_table
from speechprune.data.manifest import ManifestError, make_manifest
from speechprune.pipeline.run_store import RunStore

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
ITEM = {
    "item_id": "7",
    "audio": "https://host/archive/review.wav?signature=1",
    "question": "When is the review?",
    "choices": ["Monday", "Tuesday"],
    "answer": "A",
    "start": 1.5,
    "end": None,
}


def items(*rows: dict) -> pa.Table:
    return make_manifest(list(rows)).items


@pytest.fixture
def run(tmp_path) -> RunStore:
    """Items 7 and 8 are answered, 9 has failed."""
    run = RunStore(str(tmp_path / "run"))
    answered = items(ITEM, ITEM | {"item_id": "8", "question": "Who?", "choices": None})
    run.write_answers("ok", answers_table([{"prediction": "A", "finished_at": NOW}] * 2, answered))
    failed = items(ITEM | {"item_id": "9"})
    run.write_answers("failed", answers_table([{"error": "no", "finished_at": NOW}], failed))
    run.recover()
    return run


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"question": "Who speaks?"},
            r"another question, 'When is the review\?', where the manifest now has 'Who speaks\?'",
        ),
        ({"choices": ["Monday", "Friday"]}, r"another choices, \['Monday', 'Tuesday'\], where"),
        ({"choices": None}, "another choices"),
        ({"answer": "B"}, "another answer, 'A', where the manifest now has 'B'"),
        ({"start": None}, "another start, 1.5, where the manifest now has None"),
        ({"end": 9.0}, "another end"),
        ({"audio": "https://host/archive/other.wav?signature=1"}, "another audio"),
    ],
)
def test_an_answered_item_that_asks_something_else_is_refused(run, change, told):
    with pytest.raises(ManifestError, match=rf"item_id '7' is answered in .*run with {told}") as refusal:
        run.check_items(items(ITEM | {"item_id": "1"}, ITEM | change))
    assert "more" not in str(refusal.value)


def test_a_manifest_that_has_nothing_to_do_with_the_answers_is_refused_once(run):
    other = {"audio": "elsewhere.wav", "question": "Why?"}
    with pytest.raises(ManifestError, match=r"'7' .* \(and 1 more\)"):
        run.check_items(items({"item_id": "7"} | other, {"item_id": "8"} | other))


def test_a_question_that_fills_a_page_is_told_in_a_line(run):
    with pytest.raises(ManifestError, match=r"has 'Who said the .* \.\.\.: give") as refusal:
        run.check_items(items(ITEM | {"question": "Who said the following?\n" + "uh, well " * 500}))
    assert len(str(refusal.value)) < 500
    assert "\n" not in str(refusal.value)


def test_what_has_moved_is_new_or_has_failed_is_taken(run):
    moved = ITEM | {"audio": "s3://bucket/years/2026/review.wav"}
    signed_again = ITEM | {"audio": "https://host/archive/review.wav?signature=2", "item_id": "7"}
    mended = ITEM | {"item_id": "9", "question": "Who speaks?"}
    run.check_items(items(moved, mended, ITEM | {"item_id": "10"}))
    run.check_items(items(signed_again))
    run.check_items(items(ITEM | {"item_id": "11"}))  # and those that are no longer asked


def test_in_a_sweep_an_id_is_one_of_its_benchmark(tmp_path):
    run = RunStore(str(tmp_path / "run"), ["model", "benchmark", "point", "item_id"])

    def named(item: dict, benchmark: str, **more: str) -> pa.Table:
        table = items(item)
        for name, value in {"benchmark": benchmark, **more}.items():
            table = table.append_column(name, pa.array([value], pa.string()))
        return table

    other = ITEM | {"question": "Why?"}
    for point in ("truncate", "none"):
        for benchmark, item in (("a", ITEM), ("b", other)):
            asked = named(item, benchmark, point=point)
            row = {"prediction": "A", "model": "m", "finished_at": NOW}
            run.write_answers("ok", answers_table([row], asked))
    run.recover()
    run.check_items(pa.concat_tables([named(ITEM, "a"), named(other, "b")]))
    with pytest.raises(ManifestError, match="another question, 'Why"):
        run.check_items(pa.concat_tables([named(ITEM, "a"), named(ITEM, "b")]))
