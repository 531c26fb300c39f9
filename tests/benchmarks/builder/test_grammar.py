"""Scripts of the grammar, read again by a reader that knows only the grammar's data files.

The reader takes every sentence apart by the statements' wording alone: it shares no code with the writer.
"""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.benchmarks.builder.script import Script
from tests.helpers.grammar_reader import (
    SCENARIOS,
    VALUES,
    WRITER,
    facts_of,
    is_small_talk,
    many_scripts,
    plans,
    read_fact,
    read_question,
    sentences_of,
)


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
