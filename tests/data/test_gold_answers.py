"""A gold answer by text, letter or index is one letter, or refused."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.data.manifest import ManifestError, gold_letter

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
    assert gold_letter(1, ["1", "2"]) == "B"
    assert gold_letter(True, ["False", "True"]) == "B"


def test_a_text_that_two_choices_share_is_refused():
    with pytest.raises(ManifestError, match="more than one of the choices"):
        gold_letter("yes", ["yes", "Yes "])
