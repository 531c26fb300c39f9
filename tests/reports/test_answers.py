"""A person can look at answers without writing code."""

import pyarrow as pa
import pytest

from speechprune.data.answer_rows import answers_table
from speechprune.data.columns import ITEM_COLUMNS
from speechprune.pipeline.run_store import RunStore
from speechprune.reports.answers import AnswerNotFound, find_answer, write_clips
from speechprune.reports.show import main as show_run
from tests.helpers.answered_run import answered_run


@pytest.fixture
def run(tmp_path):
    return answered_run(str(tmp_path / "run"))


def show(run, capsys, *arguments):
    code = show_run([run.path, *arguments])
    return code, capsys.readouterr().out


def test_the_list_has_every_item(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, shown = show(run, capsys)
    assert code == 0
    for text in (
        "meeting/1",
        "B. Thursday",
        "0:03.0-0:05.0",
        "open-1",
        "on [bold]",
        "x.wav does not exist",
    ):
        assert text in shown
    code, shown = show(run, capsys, "--failed")
    assert "broken-1" in shown
    assert "meeting/1" not in shown


def test_the_list_names_recordings_and_ids_that_can_be_copied(tmp_path, capsys):
    """On 80 columns, too: of long ids a beginning that is enough for ``show``."""
    directory = RunStore(str(tmp_path / "run"))
    item_ids = ["0123456789abcdef", *(f"{'a long name '}{number} {'x' * 40}" for number in range(2))]
    item = dict.fromkeys(field.name for field in ITEM_COLUMNS)
    item |= {"audio": "s3://b/monday.opus?sig=1", "question": "?"}
    items = pa.Table.from_pylist([item | {"item_id": one} for one in item_ids], pa.schema(ITEM_COLUMNS))
    answer = {"method": "none", "prediction": "x", "prediction_text": "x", "evidence": []}
    directory.write_answers("ok", answers_table([answer] * len(items), items))
    code, listed = show(directory, capsys)
    assert code == 0
    assert "monday" in listed
    shown = [line.split("│")[1].strip() for line in listed.splitlines() if line.startswith("│")]
    shown = [text for text in shown if text]
    assert shown == [item_id[:24] for item_id in item_ids]
    assert [find_answer(directory, text)["item_id"] for text in shown] == item_ids


def test_an_item_shows_probabilities_gold_and_evidence(run, capsys):
    code, shown = show(run, capsys, "meeting/1")
    assert code == 0
    for text in ("75.0%", "answer (gold)", "1:01.0", "600 of 2,250 audio tokens", "rate 0.2"):
        assert text in shown


def test_an_item_with_a_gold_span_shows_how_much_of_it_was_kept(run, capsys):
    assert "gold evidence 1:00.0-1:03.5: 80% of its audio tokens kept" in show(run, capsys, "meeting/1")[1]
    assert "gold evidence 1:10.0-1:11.0: outside of what was" in show(run, capsys, "open-1")[1]
    assert "gold evidence" not in show(run, capsys, "broken-1")[1]


def test_an_id_may_be_cut_short_but_not_ambiguous(run):
    assert find_answer(run, "open")["prediction"] == "on [bold]"
    with pytest.raises(AnswerNotFound, match="3 items begin with"):
        find_answer(run, "")
    with pytest.raises(AnswerNotFound, match="has no item nope; it has"):
        find_answer(run, "nope")


def test_clips_are_the_evidence(run, tmp_path):
    import soundfile

    paths = write_clips(find_answer(run, "meeting/1"), str(tmp_path / "clips"))
    assert [soundfile.info(path).duration for path in paths] == [2.0, 1.5]


def test_a_folder_that_is_no_run_is_named(tmp_path):
    assert show_run([str(tmp_path)]) == 2
    assert show_run([str(tmp_path), "item"]) == 2


@pytest.mark.parametrize(
    "text", ["[bold]loud", "[/x]", "[red", "ends in a backslash\\", "[link=file:///x]y[/link]"]
)
def test_text_of_a_manifest_is_shown_as_it_is(tmp_path, capsys, monkeypatch, text):
    """Brackets are markup to rich: a closing tag that opens nothing ends it with an error."""
    monkeypatch.setenv("COLUMNS", "300")
    directory = RunStore(str(tmp_path / "run"))
    item = dict.fromkeys(field.name for field in ITEM_COLUMNS)
    item |= {"audio": f"{text}.wav", "question": f"question {text}", "answer": f"gold {text}"}
    texts = {
        "method": "none",
        "prediction": f"said {text}",
        "prediction_text": f"said {text}",
        "evidence": [],
    }
    numbers = {"num_kept_tokens": 6, "num_audio_tokens": 22, "tflops_total": 1.0, "seconds_prefill": 0.5}
    for item_id, columns in (
        (f"open {text}", {}),
        (f"choices {text}", {"choices": [f"one {text}", f"two {text}"], "choice_probabilities": [0.5, 0.5]}),
        (f"failed {text}", {"error": f"error {text}", "error_type": f"type {text}"}),
    ):
        own = item | {"item_id": item_id, "choices": columns.pop("choices", None)}
        items = pa.Table.from_pylist([own], schema=pa.schema(ITEM_COLUMNS))
        status = "failed" if "error" in columns else "ok"
        directory.write_answers(status, answers_table([texts | numbers | columns], items))
    code, listed = show(directory, capsys)
    assert code == 0
    for expected in (f"open {text}", f"failed {text}", f"question {text}", f"said {text}", f"gold {text}"):
        assert expected in listed
    assert f"failed: error {text}" in listed
    for start, expected in (
        ("open", (f"question {text}", f"{text}.wav", f"said {text}")),
        ("choices", (f"one {text}", f"two {text}")),
        ("failed", (f"failed (type {text}): error {text}",)),
    ):
        code, shown = show(directory, capsys, start)
        assert code == 0
        assert all(part in shown for part in expected)
