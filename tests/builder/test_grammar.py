"""Scripts of the grammar, read again by a reader that knows only the grammar's data files.

The reader takes every sentence apart by the statements' wording alone: it shares no code with the writer.
"""

import itertools
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import speechprune.builder
from speechprune.builder.grammar import subject_words, vocabulary
from speechprune.builder.grammar_writer import GrammarWriter
from speechprune.builder.plan import ItemsOptions, plan_recordings
from speechprune.builder.script import RecordingPlan, Script

FOLDER = Path(speechprune.builder.__file__).with_name("grammar")
VALUES = {
    kind: list(map(str, values))
    for kind, values in yaml.safe_load((FOLDER / "values.yaml").read_text()).items()
}
SCENARIOS = {
    data["scenario"]: data
    for data in (
        yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        for name in ("conversation", "lecture", "meeting")
    )
}
HESITATION = r"(?:(?:um|uh|well|you know|i mean|so), )?"
WRITER = GrammarWriter()


@dataclass(frozen=True)
class Wording:
    """A sentence of the grammar as a pattern for what is said or asked with it."""

    relation: str
    pattern: re.Pattern


@cache
def wordings(scenario: str, kind: str) -> list[Wording]:
    found = []
    for name, relation in SCENARIOS[scenario]["relations"].items():
        heads = "|".join(relation["heads"])
        for text in relation[kind]:
            pattern = re.escape(text.lower())
            pattern = pattern.replace(r"\ the\ \{subject\}", r"(?:\ |,\ (?:um|uh),\ )the\ \{subject\}")
            pattern = pattern.replace(r"\{subject\}", rf"(?P<subject>[a-z]+ (?:{heads}))")
            pattern = pattern.replace(r"\{value\}", f"(?P<value>{'|'.join(VALUES[name]).lower()})")
            found.append(Wording(name, re.compile(HESITATION + pattern)))
    return found


def read_fact(scenario: str, sentence: str) -> tuple[str, str, str] | None:
    """Relation, subject and value that a sentence says."""
    found = {
        (wording.relation, match["subject"], match["value"])
        for wording in wordings(scenario, "statements")
        if (match := wording.pattern.fullmatch(sentence.lower()))
    }
    assert len(found) <= 1, f"{sentence!r} can be read as {found}"
    return found.pop() if found else None


def read_question(scenario: str, question: str) -> tuple[str, str]:
    """Relation and subject that a question asks for."""
    found = {
        (wording.relation, match["subject"])
        for wording in wordings(scenario, "questions")
        if (match := wording.pattern.fullmatch(question.lower()))
    }
    assert len(found) == 1, f"{question!r} can be read as {found}"
    return found.pop()


def sentences_of(script: Script) -> list[str]:
    return [sentence for turn in script.turns for sentence in turn.sentences]


def facts_of(script: Script) -> list[tuple[str, str, str]]:
    read = (read_fact(script.scenario, sentence) for sentence in sentences_of(script))
    return [fact for fact in read if fact]


def is_small_talk(scenario: str, sentence: str) -> bool:
    data = SCENARIOS[scenario]
    subtopics = [name for topic in data["topics"].values() for name in topic["subtopics"]]
    known = {text.format(subtopic=name) for text in data["openings"] for name in subtopics}
    known |= {*data["fillers"], *data["closings"]}
    plain = re.sub("^" + HESITATION, "", sentence.lower())
    return {sentence.lower(), plain} & {text.lower() for text in known} != set()


@st.composite
def plans(draw, longest: float = 900.0) -> RecordingPlan:
    seconds = draw(st.floats(20, longest))
    num_questions = draw(st.integers(1, 3))
    scenario, topic, subtopic = draw(st.sampled_from(WRITER.topics()))
    return RecordingPlan(
        recording_id="recording",
        seed=draw(st.integers(0, 2**48)),
        scenario=scenario,
        topic=topic,
        subtopic=subtopic,
        seconds=seconds,
        letters=tuple(draw(st.sampled_from("ABCD")) for _ in range(num_questions)),
        positions=tuple(sorted(draw(st.floats(0, 0.999)) for _ in range(num_questions))),
        fact_group=draw(st.sampled_from(["training", "held_out"])),
        voice_group="training",
    )


def many_scripts(num_recordings: int, **options) -> list[tuple[RecordingPlan, Script]]:
    items = ItemsOptions(num_recordings=num_recordings, **options)
    return [(plan, WRITER.write(plan)) for plan in plan_recordings(items, WRITER.topics())]


@given(plan=plans())
@settings(max_examples=60)
def test_every_sentence_is_a_fact_or_small_talk_and_no_subject_is_spoken_of_twice(plan):
    script = WRITER.write(plan)
    facts = []
    for sentence in sentences_of(script):
        fact = read_fact(plan.scenario, sentence)
        assert fact or is_small_talk(plan.scenario, sentence), sentence
        facts += [fact] if fact else []
    subjects = [subject for _, subject, _ in facts]
    assert len(subjects) == len(set(subjects))
    for subject in subjects:
        assert sum(subject in sentence.lower() for sentence in sentences_of(script)) == 1


@given(plan=plans())
@settings(max_examples=60)
def test_the_key_sentence_answers_the_question_and_no_other_choice_is_said_of_its_subject(plan):
    script = WRITER.write(plan)
    assert [question.answer for question in script.questions] == list(plan.letters)
    assert len({(question.turn, question.sentence) for question in script.questions}) == len(plan.letters)
    for question in script.questions:
        relation, subject = read_question(plan.scenario, question.question)
        choices = [choice.lower() for choice in question.choices]
        said = read_fact(plan.scenario, script.key_sentence(question))
        assert said == (relation, subject, choices["ABCD".index(question.answer)])
        assert len(set(choices)) == 4
        assert set(choices) <= {value.lower() for value in VALUES[relation]}


@given(plan=plans(longest=300))
@settings(max_examples=20)
def test_the_same_plan_gives_the_same_script_and_another_seed_another(plan):
    script = WRITER.write(plan)
    assert GrammarWriter().write(plan) == script
    assert WRITER.write(replace(plan, seed=plan.seed + 1)) != script


@given(plan=plans())
@settings(max_examples=40)
def test_speakers_are_as_many_as_the_scenario_has_and_women_and_men_by_turns(plan):
    script = WRITER.write(plan)
    low, high = SCENARIOS[plan.scenario]["num_speakers"]
    assert low <= len(script.speakers) <= high
    assert len({speaker.name for speaker in script.speakers}) == len(script.speakers)
    genders = Counter(speaker.gender for speaker in script.speakers)
    assert abs(genders["female"] - genders["male"]) <= 1
    for before, after in itertools.pairwise(script.turns):
        assert before.speaker != after.speaker or len(script.speakers) == 1


def test_recordings_of_hours_contradict_nothing_and_say_facts_all_the_way():
    for plan, script in many_scripts(
        2, min_seconds=3600, max_seconds=9000, fact_group="held_out", seed=2
    ) + many_scripts(2, min_seconds=20_000, max_seconds=40_000, fact_group="training", seed=3):
        facts = facts_of(script)
        subjects = [subject for _, subject, _ in facts]
        assert len(subjects) == len(set(subjects))
        says_fact = np.array([read_fact(plan.scenario, text) is not None for text in sentences_of(script)])
        tenths = [part.sum() for part in np.array_split(says_fact, 10)]
        assert min(tenths) > 0.6 * max(tenths)


def test_scripts_are_as_long_as_planned():
    # espeak-ng's pace, pauses between sentences included, as the builder's recordings have it
    for plan, script in many_scripts(200, min_seconds=20, max_seconds=600, seed=4):
        spoken = sum(0.42 + 0.056 * len(sentence) for sentence in sentences_of(script))
        assert 0.85 * plan.seconds - 1 < spoken < 1.06 * plan.seconds + 1


def place_of(script: Script, number: int) -> float:
    """Where the middle of a question's key sentence stands among all letters of the script, 0 to 1."""
    question = script.questions[number]
    lengths = [len(sentence) for sentence in sentences_of(script)]
    before = sum(len(turn.sentences) for turn in script.turns[: question.turn]) + question.sentence
    return (sum(lengths[:before]) + lengths[before] / 2) / sum(lengths)


@pytest.mark.parametrize(
    ("seconds", "num_recordings", "num_questions", "furthest"),
    [(20, 500, 1, 0.12), (90, 500, 1, 0.04), (90, 300, 3, 0.06), (3600, 20, 1, 0.01)],
)
def test_critical_facts_stand_where_the_plan_puts_them(seconds, num_recordings, num_questions, furthest):
    scripts = many_scripts(
        num_recordings,
        min_seconds=seconds,
        max_seconds=seconds,
        questions_per_recording=num_questions,
        seed=5,
    )
    planned = [position for plan, _ in scripts for position in plan.positions]
    stood = [place_of(script, number) for _, script in scripts for number in range(num_questions)]
    assert np.abs(np.array(planned) - np.array(stood)).max() < furthest
    if seconds > 20:  # of five sentences none has its middle at the very edge
        assert stats.kstest(stood, "uniform").pvalue > 0.05


def test_where_every_fact_is_asked_about_they_are_spread_over_the_recording():
    plan = replace(
        many_scripts(1, min_seconds=90, max_seconds=90)[0][0],
        letters=("A", "B", "C", "D") * 3,
        positions=tuple((i + 0.5) / 12 for i in range(12)),
    )
    script = WRITER.write(plan)
    asked = {read_question(plan.scenario, question.question)[1] for question in script.questions}
    assert asked == {subject for _, subject, _ in facts_of(script)}
    assert len(asked) == 12
    stood = [place_of(script, number) for number in range(12)]
    assert np.abs(np.array(stood) - np.array(plan.positions)).max() < 0.12


def test_training_and_held_out_facts_have_none_in_common():
    said = {
        group: {
            (plan.scenario, *fact)
            for plan, script in many_scripts(400, fact_group=group, seed=6)
            for fact in facts_of(script)
        }
        for group in ("training", "held_out")
    }
    assert not said["training"] & said["held_out"]
    assert min(map(len, said.values())) > 2000
    # all that can be held out is the pair: every value is said in training too
    values = {group: {(relation, value) for _, relation, _, value in said[group]} for group in said}
    assert values["held_out"] == values["training"]
    share = len(said["held_out"]) / sum(map(len, said.values()))
    assert 0.2 < share < 0.5  # a quarter of all pairs, said more often each


def test_wrong_choices_are_mostly_said_of_other_subjects():
    said = absent = 0
    with_absent = Counter()
    for _, script in many_scripts(300, seed=7):
        facts = facts_of(script)
        for question in script.questions:
            relation, _ = read_question(script.scenario, question.question)
            heard = {value for name, _, value in facts if name == relation}
            missing = [choice for choice in question.choices if choice.lower() not in heard]
            said, absent = said + 3 - len(missing), absent + len(missing)
            with_absent[len(missing)] += 1
    assert said / (said + absent) > 0.85
    assert set(with_absent) == {0, 1}  # never so many that hearing a word is knowing the answer
    assert 0.1 < with_absent[1] / with_absent.total() < 0.3


def test_the_vocabulary_is_closed_and_nothing_in_it_is_idle():
    words = set(vocabulary())
    heard = {"um", "uh"}
    for seed in range(4):
        for _, script in many_scripts(150, seed=seed, fact_group=("training", "held_out")[seed % 2]):
            texts = sentences_of(script)
            for question in script.questions:
                texts += [question.question, *question.choices]
            for text in texts:
                heard |= {
                    word if word == "I" else word.lower() for word in re.findall(r"[A-Za-z0-9']+", text)
                }
                assert re.fullmatch(r"[A-Za-z', .?!]+", text)
    assert heard <= words
    assert len(words - heard) < 0.02 * len(words)
    assert {word for word in words if len(word) == 1} == {"I", "a"}


def test_no_two_values_of_a_kind_are_equal_and_each_is_one_word():
    for values in VALUES.values():
        assert len({value.lower() for value in values}) == len(values)
        assert all(re.fullmatch(r"[A-Za-z]{3,}", value) for value in values)
        assert len(values) >= 7  # four that are said and one that is not, whatever is held out


def test_a_and_an_stand_before_the_right_words():
    checked = 0
    for data in SCENARIOS.values():
        modifiers = [
            word for topic in data["topics"].values() for m in topic["subtopics"].values() for word in m
        ]
        subtopics = [name for topic in data["topics"].values() for name in topic["subtopics"]]
        fixed = data["openings"] + data["fillers"] + data["closings"]
        for name, relation in data["relations"].items():
            words = {"subject": modifiers, "value": VALUES[name], "subtopic": subtopics}
            for text in relation["statements"] + relation["questions"] + fixed:
                for article, field, word in re.findall(r"\b([Aa]n?) (?:\{(\w+)\}|(\w+))", text):
                    for following in words[field] if field else [word]:
                        begins_with_vowel = following[0].lower() in "aeiou"
                        assert (article.lower() == "an") == begins_with_vowel, (text, following)
                        checked += 1
    assert checked > 50


def test_subjects_of_all_topics_of_a_scenario_are_different_things():
    for data in SCENARIOS.values():
        heads = [head for relation in data["relations"].values() for head in relation["heads"]]
        assert len(heads) == len(set(heads))
        modifiers = [
            word for topic in data["topics"].values() for m in topic["subtopics"].values() for word in m
        ]
        assert len(modifiers) == len(set(modifiers))


def test_the_subject_is_found_in_every_question():
    for scenario, data in SCENARIOS.items():
        modifier = next(iter(next(iter(data["topics"].values()))["subtopics"].values()))[0]
        for relation in data["relations"].values():
            for text in relation["questions"]:
                question = text.format(subject=f"{modifier} {relation['heads'][-1]}")
                assert " ".join(subject_words(question)) == read_question(scenario, question)[1]


def test_an_unknown_topic_is_named():
    plan = many_scripts(1)[0][0]
    with pytest.raises(ValueError, match="meeting about philately, stamps"):
        WRITER.write(replace(plan, scenario="meeting", topic="philately", subtopic="stamps"))
    with pytest.raises(ValueError, match="interview"):
        WRITER.write(replace(plan, scenario="interview"))


def test_more_questions_than_facts_are_refused_with_both_numbers():
    plan = replace(
        many_scripts(1)[0][0],
        seconds=20.0,
        letters=("A",) * 9,
        positions=tuple(i / 9 for i in range(9)),
    )
    with pytest.raises(ValueError, match="9 questions, but the recording has only 4 facts"):
        WRITER.write(plan)
