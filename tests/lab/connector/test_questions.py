"""Questions about spoken sentences: which are spoken."""

import pytest

from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.script import Script, ScriptQuestion, Speaker, Turn
from speechprune.lab.connector.config import SpeechOptions
from speechprune.lab.connector.questions import ask
from speechprune.lab.connector.speakers import WindowSpeaker

SENTENCES = ("It begins.", "The review is on Monday.", "Laura leads it.", "It ends at noon.", "That is all.")


def script_with(sentences: tuple[str, ...], key: int) -> Script:
    return Script(
        scenario="meeting",
        topic="work",
        subtopic="plans",
        speakers=(Speaker(name="a", gender="female"),),
        turns=(Turn(speaker="a", sentences=sentences),),
        questions=(
            ScriptQuestion(question="When?", choices=("Monday", "Friday"), answer="A", turn=0, sentence=key),
        ),
    )


@pytest.mark.parametrize(("key", "expected"), [(0, SENTENCES[:3]), (2, SENTENCES[1:4]), (4, SENTENCES[2:])])
def test_the_sentences_around_the_key_are_spoken(key, expected):
    script, too_long = script_with(SENTENCES, key), script_with((" ".join(SENTENCES * 8),), 0)
    speaker = WindowSpeaker([script], Espeak(), "held_out", SpeechOptions(texts=()))
    (asked,) = ask([too_long, script], speaker, 5)
    assert asked.question == script.questions[0]
    assert asked.spoken.text == " ".join(expected)
