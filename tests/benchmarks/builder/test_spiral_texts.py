"""SPIRAL's own texts as scripts: nothing said is lost, and the critical fact is where the script says."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from speechprune.benchmarks.builder.spiral_texts import read_spiral_scripts

SPIRAL = Path(__file__).parents[3] / "../shared/spiral"
# the recordings' sentences say these facts in slightly other words than original_key_sentence
REWORDED = {"meeting_206", "meeting_247", "meeting_312", "conversation_79", "conversation_254"}


def letters(text):
    return re.sub(r"[^a-z0-9]", "", text.lower())


def words(text):
    return set(re.findall(r"[a-z0-9%']+", text.lower()))


@pytest.mark.skipif(not SPIRAL.exists(), reason="SPIRAL's texts are not here")
@pytest.mark.parametrize(
    ("texts", "gold_letters"),
    [
        ("data.jsonl", {"A": 125, "B": 603, "C": 271, "D": 13}),
        ("data_h.jsonl", {"A": 61, "B": 261, "C": 70, "D": 9}),
    ],
)
def test_every_item_of_spiral_becomes_a_script(texts, gold_letters):
    records = [json.loads(line) for line in (SPIRAL / texts).read_text(encoding="utf-8").splitlines()]
    scripts = read_spiral_scripts(SPIRAL / texts)
    assert len(scripts) == sum(gold_letters.values())
    assert Counter(script.questions[0].answer for _, script in scripts) == gold_letters
    reworded = set()
    for (item_id, script), record in zip(scripts, records, strict=True):
        metadata = record["metadata"]
        assert item_id == metadata["id"]
        assert (script.scenario, script.topic, script.subtopic) == (
            metadata["transcript_type"],
            metadata["main_topic"],
            metadata["subtopic"],
        )
        for turn, written in zip(script.turns, record["transcript"], strict=True):
            assert turn.speaker == written["speaker"]
            assert " ".join(turn.sentences).split() == " ".join(written["text"]).split()
        [question] = script.questions
        test_question = record["test_question"]
        assert question.question == test_question["question"]
        gold = question.choices["ABCD".index(question.answer)]
        assert f"{question.answer}. {gold}" == test_question["correct_answer"]

        told = script.key_sentence(question)
        key = record["original_key_sentence"]
        if letters(key) not in letters(told):
            reworded.add(item_id)
            assert len(words(key) & words(told)) >= 0.8 * len(words(key))
        assert len(letters(told)) <= 3 * len(letters(key))
    assert reworded == REWORDED & {item_id for item_id, _ in scripts}
    assert not any(
        re.search(r"\b(Dr|St)\.$", sentence)
        for _, script in scripts
        for turn in script.turns
        for sentence in turn.sentences[:-1]
    )


@pytest.mark.skipif(not SPIRAL.exists(), reason="SPIRAL's texts are not here")
def test_genders_are_those_of_spirals_voices():
    counts = Counter(
        speaker.gender
        for _, script in read_spiral_scripts(SPIRAL / "data.jsonl")
        for speaker in script.speakers
    )
    assert counts == {"female": 1587, "male": 1540}


def record(indices: list[int]) -> dict:
    sentences = ["I saw Dr.", "Lee at noon.", "She was late.", "Really?", "It snowed.", "A lot."]
    return {
        "transcript": [
            {"speaker": "spk_1", "text": ["I saw Dr. Lee at  noon.", "She was late."]},
            {"speaker": "spk_2", "text": ["Really? It snowed.", "A lot."]},
        ],
        "original_key_sentence": "She was late.",
        "test_question": {
            "question": "Who was late?",
            "choices": ["A. Ann", "B. Dr. Lee"],
            "correct_answer": "B. Dr. Lee",
        },
        "metadata": {"main_topic": "m", "subtopic": "s", "transcript_type": "conversation", "id": "item"},
        "audio_data": {
            "key_sentences": {"indices": indices},
            "combined": {
                "audio_files": ["item.wav"],
                "audio_folder": "wavs",
                "prompts_used": {"spk_1": "/voices/1_M.wav", "spk_2": "2_F"},
                "sentences": sentences,
            },
        },
    }


def write(path: Path, *records: dict) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    return path


@pytest.mark.parametrize(
    ("indices", "sentences", "key_sentence"),
    [
        ([2, 3], [2, 3], "She was late."),
        ([1, 2], [2, 3], "I saw Dr. Lee at noon."),  # the cut name is whole again
        ([0, 3], [1, 3], "I saw Dr. Lee at noon. She was late."),
        ([4, 6], [2, 2], "It snowed. A lot."),
        ([2, 5], [2, 2], "Really? It snowed."),  # of two speakers', the second's
    ],
)
def test_the_critical_fact_is_one_sentence(tmp_path, indices, sentences, key_sentence):
    [(item_id, script)] = read_spiral_scripts(write(tmp_path / "texts.jsonl", record(indices)))
    assert item_id == "item"
    assert [len(turn.sentences) for turn in script.turns] == sentences
    assert script.key_sentence(script.questions[0]) == key_sentence
    assert [speaker.gender for speaker in script.speakers] == ["male", "female"]


def without_metadata():
    broken = record([2, 3])
    del broken["metadata"]
    return broken


def with_other_sentences():
    broken = record([2, 3])
    broken["audio_data"]["combined"]["sentences"].append("And more.")
    return broken


def with_unknown_voice():
    broken = record([2, 3])
    broken["audio_data"]["combined"]["prompts_used"]["spk_2"] = "2.wav"
    return broken


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (without_metadata(), "field 'metadata' is missing"),
        (record([3, 9]), r"indices \[3, 9\] are not among the 6 sentences"),
        (record([3, 3]), r"indices \[3, 3\]"),
        (with_other_sentences(), "are not the transcript's text"),
        (with_unknown_voice(), "'2.wav' of spk_2 does not end in _F or _M"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path, broken, message):
    path = write(tmp_path / "texts.jsonl", record([2, 3]), broken)
    with pytest.raises(ValueError, match=f"texts.jsonl, line 2: .*{message}"):
        read_spiral_scripts(path)
