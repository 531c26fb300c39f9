"""The card counts what is there, and its statistics are those of the textbooks."""

import random

import pytest

from speechprune.benchmarks.builder.card import RecordingFacts, card_markdown, card_values, is_spoken

# the card


@pytest.mark.parametrize(
    ("choice", "spoken"),
    [
        ("Thursday", True),
        ("on thursday", True),
        ("two blue boxes", True),
        ("Thurs", False),
        ("Friday", False),
        ("Thursday Two", True),
        ("two boxes", False),
    ],
)
def test_a_choice_is_spoken_as_whole_words_in_a_row(choice, spoken):
    assert is_spoken(choice, "The review is on Thursday. Two, uh no, two blue boxes!") is spoken


def question(answer: str, span: tuple[float, float], **place) -> dict:
    return {
        "question": "Which?",
        "choices": ["red", "green", "blue", "pink"],
        "answer": answer,
        "evidence_start": span[0],
        "evidence_end": span[1],
        "scenario": "meeting",
        "topic": "shop",
        "subtopic": "paint",
        "voice_group": "training",
        "voices": ["en-us+f1", "en-us+m1"],
        **place,
    }


@pytest.fixture
def recordings() -> list[RecordingFacts]:
    talk = {
        "audio_seconds": 60.0,
        "turns": [
            {"speaker": "Ann", "sentences": [{"text": "The door is red."}, {"text": "The wall is blue."}]},
            {"speaker": "Bob", "sentences": [{"text": "Fine."}]},
        ],
    }
    lecture = {
        "scenario": "lecture",
        "topic": "art",
        "subtopic": "oil",
        "voice_group": "held_out",
        "voices": ["en-us+m1"],
    }
    return [
        RecordingFacts.of([question("A", (0, 6)), question("C", (30, 36))], talk),
        RecordingFacts.of([question("A", (50, 58), **lecture)], talk | {"audio_seconds": 120.0}),
    ]


def test_the_card_counts(recordings):
    values = card_values(recordings, {}, "espeak")
    assert (values["num_recordings"], values["num_questions"], values["hours"]) == (2, 3, 0.05)
    assert values["seconds"] == {"mean": 90, "min": 60, "max": 120}
    assert values["words"] == {"mean": 9, "min": 9, "max": 9}
    assert values["words_per_minute"] == 6
    assert values["scenarios"] == {"lecture": 1, "meeting": 1}
    assert values["topics"] == {"lecture: art": 1, "meeting: shop": 1}
    assert (values["speech"], values["num_voices"]) == ("espeak", 2)
    assert values["voice_groups"] == {"held_out": 1, "training": 1}
    assert values["letters"] == {"A": 2, "B": 0, "C": 1, "D": 0}
    assert values["majority_letter_accuracy"] == 2 / 3
    assert values["positions"] == [1, 0, 0, 0, 1, 1, 0, 0, 0, 0]  # 3, 33 of 60 s; 54 of 120 s
    assert values["wrong_choices_heard"] == 3 / 9  # blue, red, blue


def test_the_card_reads_what_was_counted_and_measured(recordings):
    values = card_values(recordings, {"recording-7": "SpeechError: no such voice"}, "espeak")
    plain = card_markdown(values)
    assert "set `quality.model`" in plain
    assert "set `quality.asr_model`" in plain
    assert "set `quality.dnsmos`" in plain
    assert "Spoken by espeak in 2 voices; groups: held_out 1, training 1." in plain
    assert "- recording-7: SpeechError: no such voice" in plain
    date = {"date": "2026-11-27"}
    ratings = {"overall": 3.291, "speech": 3.491, "background": 4.191, "p808": 4.171}
    measured = {
        "no_audio": {"model": "some/llm", "num_questions": 3, "accuracy": 1 / 3, **date},
        "recognition": {"model": "some/asr", "num_recordings": 2, "word_error_rate": 0.0389, **date},
        "dnsmos": {"num_recordings": 2, **ratings, **date},
    }
    text = card_markdown(values | measured)
    assert "| no audio | 33.3% of 3 by some/llm, 2026-11-27 |" in text
    assert "Word error rate: 3.9% by some/asr on 2 recordings, 2026-11-27." in text
    assert (
        "DNSMOS, 1 to 5: 3.29 overall, 3.49 the speech, 4.19 the background (P.835), 4.17 overall (P.808), "
        "mean of 2 recordings, 2026-11-27." in text
    )
    assert "| always the commonest letter | 66.7% |" in text
    assert "| lecture: art | 1 |" in text


def test_a_benchmark_of_nothing_but_failures_has_a_card():
    failures = {f"recording-{i}": "WriterError: no reply" for i in random.Random(0).sample(range(100), 30)}
    text = card_markdown(card_values([], failures, "espeak"))
    assert "0 recordings, 0 questions" in text
    assert "## 30 recordings could not be made" in text
    assert "- and 10 more: see card.json" in text
