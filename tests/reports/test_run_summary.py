"""What ends an index run and a search on the terminal."""

import pyarrow as pa
import pytest

from speechprune.reports.run_summary import NUM_FAILURES_SHOWN, show_index, show_search
from speechprune.search.summary import SearchResult, search_summary

MARKUP = "meeting [/x]"


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_an_index_run_shows_changes_cost_and_the_first_failures(capsys):
    values = {
        "num_recordings": 9,
        "num_indexed": 7,
        "num_new": 4,
        "num_changed": 1,
        "num_dropped": 2,
        "num_encoded": 5,
        "num_copied": 0,
        "audio_hours": 2.0,
        "index_bytes_per_audio_hour": 3e6,
        "audio_bytes_per_audio_hour": 9e6,
        "seconds_encode_per_audio_hour": 60.0,
        "tflops_encode_per_audio_hour": 276.0,
        "failures": [{"error": f"{MARKUP} {i} is silent"} for i in range(NUM_FAILURES_SHOWN + 2)],
        "this_launch": {"audio_hours": 1.0, "seconds": 360.0},
        "questions": {
            "num_ok": 3,
            "num_failed": 1,
            "seconds_per_question": 0.5,
            "tflops_per_question": 8.0,
            "answers": "q/answers",
        },
        "windows": f"{MARKUP}/windows",
    }
    show_index(values)
    shown = capsys.readouterr().out
    for text in (
        "9 recordings: 4 new, 1 changed, 2 gone",
        "5 encoded, 0 copied, 2 dropped",
        f"{MARKUP} 0 is silent",
        "2 more: see summary.json",
        "3.0 MB in the index, 9.0 MB as audio",
        "10 x real time",
        "3 answered, 1 failed; 0.5 s and 8 TFLOPs each",
        f"{MARKUP}/windows",
    ):
        assert text in shown
    assert f"{MARKUP} {NUM_FAILURES_SHOWN} is silent" not in shown


def hits(num_questions: int) -> pa.Table:
    row = {
        "rank": 1,
        "question": f"who {MARKUP}?",
        "recording": f"a/{MARKUP.replace('/', '')}.wav",
        "score": 4.2,
        "matches": [{"start": 30.0, "end": 35.0}, {"start": 70.0, "end": 75.0}],
        "prediction_text": f"Anna {MARKUP}",
        "choice_probabilities": [0.75, 0.25],
        "evidence": [{"start": 31.0, "end": 33.0}],
        "correct": True,
    }
    return pa.Table.from_pylist([row] * num_questions)


def test_the_hits_of_one_question_are_listed(capsys):
    found = hits(1)
    show_search(
        SearchResult(found, search_summary(found, found, 7, 0.5, 100, is_exact=True), f"runs/{MARKUP}")
    )
    shown = capsys.readouterr().out
    for text in (
        f"who {MARKUP}?",
        "meeting [x].wav",
        f"Anna {MARKUP} (75%)",
        "31 to 33 s",
        "30 to 35, 70 to 75",
    ):
        assert text in shown
    assert f"7 recordings searched in 0.5 s a question (exact); hits: runs/{MARKUP}/hits.parquet" in shown


def test_several_questions_have_their_own_hits(capsys):
    found = hits(2)
    show_search(SearchResult(found, search_summary(found, found, 7, 1.0, 100, is_exact=True), "runs/x"))
    assert capsys.readouterr().out.count(f"who {MARKUP}?") == 2


def test_of_many_questions_the_recall_of_each_method_is_shown(capsys):
    found = hits(2)
    values = search_summary(found, found, 7, 1.0, 100, is_exact=False)
    values["found"] = {"late_interaction": {"recall_at_1": 0.5, "recall_at_10": 1.0}}
    show_search(SearchResult(found, values, "runs/x"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "late interaction" in shown
    assert "recall@1" in shown
    assert "50.0%" in shown
    assert "answers about the first recording: 100.0% of 2 right" in shown
