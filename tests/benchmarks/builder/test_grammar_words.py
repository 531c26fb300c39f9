"""The grammar's data files: a closed vocabulary, one word a value, things that differ."""

import re

from speechprune.benchmarks.builder.grammar import subject_words, vocabulary
from tests.helpers.grammar_reader import SCENARIOS, VALUES, many_scripts, read_question, sentences_of


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
