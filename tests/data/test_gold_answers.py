"""A gold answer by text, letter or index is one letter, or refused."""

import contextlib
import json
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.benchmarks.choices import parse_gold_answer
from speechprune.data.choices import gold_letter, read_choices
from speechprune.data.row_files import ManifestError

TEXTS = st.lists(
    st.text(alphabet=string.ascii_letters + " äß", min_size=2, max_size=8).filter(
        lambda text: len(text.strip()) > 1
    ),
    min_size=2,
    max_size=26,
    unique_by=lambda text: text.strip().casefold(),
)


@given(TEXTS, st.data())
def test_text_letter_and_index_of_a_choice_mean_the_same_letter(choices, data):
    index = data.draw(st.integers(0, len(choices) - 1))
    letter = string.ascii_uppercase[index]
    for answer in (
        choices[index],
        f"  {choices[index].swapcase()} " if choices[index].isascii() else choices[index],
        letter,
        letter.lower(),
        f"({letter})",
        f"{letter}.",
        index,
        float(index),
        str(index),
    ):
        assert gold_letter(answer, choices) == letter


@given(TEXTS, st.one_of(st.integers(), st.text(), st.floats(), st.booleans()))
def test_a_gold_answer_is_a_letter_of_the_choices_or_refused(choices, answer):
    with contextlib.suppress(ManifestError):
        assert gold_letter(answer, choices) in string.ascii_uppercase[: len(choices)]


def test_a_text_goes_before_a_letter_and_a_letter_before_an_index():
    assert gold_letter("B", ["B", "A"]) == "A"
    assert gold_letter("1", ["1", "2"]) == "A"
    assert gold_letter(1, ["one", "two"]) == "B"
    assert gold_letter(True, ["False", "True"]) == "B"


@pytest.mark.parametrize("answer", [3, 3.0, "3", "3.0"])
@pytest.mark.parametrize("choices", [[2, 3, 4, 5], [2.0, 3.0, 4.0, 5.0], ["2", 3, "4", "5"]])
def test_where_choices_are_numbers_a_number_is_the_choice(answer, choices):
    assert gold_letter(answer, choices) == "B"


def test_a_number_that_is_a_text_and_the_index_of_another_is_refused():
    with pytest.raises(ManifestError, match="answer 1 is the text of choice A and the index of choice B"):
        gold_letter(1, ["1", "2"])
    assert gold_letter(1, ["0", "1"]) == "B"  # both
    assert gold_letter(20, ["10", "20"]) == "B"  # no index
    assert gold_letter(1, [10, 20]) == "B"  # no choice
    assert gold_letter(0.5, ["0.25", "0.50"]) == "B"


def test_choices_that_differ_in_case_alone_are_two():
    assert [gold_letter(answer, ["us", "US"]) for answer in ("us", "US ")] == ["A", "B"]
    assert parse_gold_answer("US.", ["us", "US"]) == "B"
    with pytest.raises(ManifestError, match="more than one of the choices"):
        gold_letter("Us", ["us", "US"])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("text", ["café", "Überhörung", "서울", "Ångström"])
def test_forms_of_unicode_are_one_text(form, text):
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", text)
    for answer in (other, other.upper()):
        assert gold_letter(answer, ["thé", unicodedata.normalize(form, text)]) == "B"
        assert parse_gold_answer(answer, ["thé", unicodedata.normalize(form, text)]) == "B"


def test_a_text_that_two_choices_share_is_refused():
    with pytest.raises(ManifestError, match="more than one of the choices"):
        gold_letter("yes", ["yes", "yes "])


@given(
    st.lists(st.text(st.characters(blacklist_categories=["Cs"])).filter(str.strip), min_size=2, max_size=26)
)
def test_choices_in_a_cell_of_text_are_those_of_the_list(choices):
    """As JSON with and without escapes, and as Python prints a list, which is what pandas writes."""
    for cell in (json.dumps(choices), json.dumps(choices, ensure_ascii=False), str(choices)):
        assert read_choices(f" {cell} ") == choices
    if not any("|" in choice or choice.lstrip().startswith("[") for choice in choices):
        assert read_choices(" | ".join(choices)) == [choice.strip() for choice in choices]


@pytest.mark.parametrize(
    ("cell", "choices"),
    [
        ("[2, 3]", [2, 3]),
        ("['it\\'s', \"it is\"]", ["it's", "it is"]),
        ("[laughter] | [music]", ["[laughter]", "[music]"]),
        (None, None),
        ("", None),
    ],
)
def test_choices_in_a_cell(cell, choices):
    assert read_choices(cell) == choices
