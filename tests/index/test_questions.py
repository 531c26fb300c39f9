"""Standing questions: a list that is checked before any work starts."""

import pytest

from speechprune.index.standing_questions import QuestionsError, as_items, read_questions

GOOD = """
- When is the budget review?
- id: place
  question: Where is it?
  choices: [the library, 12]
"""


def write(tmp_path, text: str) -> str:
    path = tmp_path / "questions.yaml"
    path.write_text(text)
    return str(path)


def test_open_ones_and_ones_with_choices(tmp_path):
    first, second = read_questions(write(tmp_path, GOOD))
    assert (first.name, first.choices) == ("When is the budget review?", None)
    assert (second.name, second.choices) == ("place", ("the library", "12"))


def test_every_text_is_taken_as_it_stands(tmp_path):
    text = "- question: 2026\n  id: 007\n  choices: [yes, no, null, 1.50, 2026-11-27, 1_000, 0x1F, on]"
    [question] = read_questions(write(tmp_path, text))
    assert (question.question, question.name) == ("2026", "007")
    assert question.choices == ("yes", "no", "null", "1.50", "2026-11-27", "1_000", "0x1F", "on")


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_choices_that_are_left_empty_are_none(tmp_path, nothing):
    [question] = read_questions(write(tmp_path, f"- question: Where?\n  choices: {nothing}"))
    assert question.choices is None


def test_each_is_asked_of_each_recording_and_anew_when_that_has_changed(tmp_path):
    questions = read_questions(write(tmp_path, GOOD))
    items = as_items(questions, {"a.wav": "1", "b.wav": "1"}).items
    assert len(set(items.column("item_id").to_pylist())) == 4
    again = as_items(questions, {"a.wav": "2", "b.wav": "1"}).items
    same = set(items.column("item_id").to_pylist()) & set(again.column("item_id").to_pylist())
    assert len(same) == 2
    assert items.column("question_id").to_pylist() == ["When is the budget review?", "place"] * 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a list"),
        ("question: one", "must be a list"),
        ("- choices: [a, b]", "entry 1 has no question"),
        ("- question: ''", "entry 1 has no question"),
        ("- {question: q, chioces: [a, b]}", "unknown key chioces: valid are id, question, choices"),
        ("- {question: q, choices: [a]}", "choices must be a list of 2 to 26"),
        ("- {question: q, choices: [a, [b]]}", "choices must be a list of 2 to 26 texts"),
        ("- {question: [q]}", "entry 1 has no question"),
        ("- q\n- q", "'q' is there twice"),
        ("- [", "can't be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(QuestionsError, match=sentence) as caught:
        read_questions(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(QuestionsError, match=r"questions.path .*nowhere.yaml can't be read"):
        read_questions(str(tmp_path / "nowhere.yaml"))
