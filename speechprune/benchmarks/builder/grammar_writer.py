"""Built-in writer of scripts from the grammar, by seed, without a network.

A script states several facts of every kind between sentences without facts, and no two facts about one thing.
"""

from __future__ import annotations

import random

from speechprune.benchmarks.builder.grammar import Fact, ScenarioGrammar, load_grammar
from speechprune.benchmarks.builder.grammar_draft import NUM_CHOICES, Draft, write_dialogue
from speechprune.benchmarks.builder.script import (
    RecordingPlan,
    Scenario,
    Script,
    ScriptQuestion,
    Speaker,
    Turn,
)
from speechprune.inference.prompts import LETTERS

DIALOGUE_SECONDS = 90.0  # a longer recording is several dialogues
FACT_SECONDS = 7.5  # seconds per fact
SETS_A_PLACE = 15  # of four facts of a kind, that a topic's subtopic has for one recording: an hour's
ABSENT_CHOICE_SHARE = 0.2  # questions with one wrong choice that the recording doesn't hold
FEMALE_NAMES = ("Emma", "Nora", "Sarah", "Linda", "Alice", "Clara")
MALE_NAMES = ("David", "Paul", "Henry", "Martin", "James", "Leo")


class GrammarWriter:
    """Writes scripts; the same plan gives the same script."""

    def topics(self) -> list[tuple[Scenario, str, str]]:
        """All triples (scenario, topic, subtopic)."""
        return [
            (grammar.name, topic, subtopic)
            for grammar in load_grammar().values()
            for topic, subtopic in grammar.modifiers
        ]

    def write(self, plan: RecordingPlan) -> Script:
        """Write the script of one recording.

        Raises
        ------
        ValueError
            The plan asks for a place in the hierarchy that the grammar doesn't have, or for more
            questions than a recording of that length has facts.
        """
        rng = random.Random(f"script {plan.seed}")
        grammar = load_grammar().get(plan.scenario)
        if grammar is None or (plan.topic, plan.subtopic) not in grammar.modifiers:
            raise ValueError(f"the grammar has no {plan.scenario} about {plan.topic}, {plan.subtopic}")
        places = self._places(grammar, plan, rng)
        draft, stated = Draft(), set[tuple[str, str]]()
        seconds = plan.seconds / len(places)
        for place, num_sets in zip(places, _sets_of_facts(len(places), seconds, grammar), strict=True):
            write_dialogue(draft, grammar, place, seconds, num_sets, plan.fact_group, stated, rng)
        asked = _facts_at(plan.positions, len(draft.facts))
        if len(asked) < len(draft.facts):  # else they are spread over all of the recording already
            for number, position in zip(asked, plan.positions, strict=True):
                draft.move_fact(number, position)
        turns, where = _take_turns(draft.sentences, speakers := _cast(grammar, rng), grammar, rng)
        questions = tuple(
            _ask(draft.facts, number, letter, where, rng)
            for number, letter in zip(asked, plan.letters, strict=True)
        )
        return Script(
            scenario=plan.scenario,
            topic=plan.topic,
            subtopic=plan.subtopic,
            speakers=speakers,
            turns=turns,
            questions=questions,
        )

    @staticmethod
    def _places(grammar: ScenarioGrammar, plan: RecordingPlan, rng: random.Random) -> list[tuple[str, str]]:
        """Topic and subtopic of each dialogue: the plan's, then others of the scenario in turn."""
        own = (plan.topic, plan.subtopic)
        others = [place for place in grammar.modifiers if place != own]
        rng.shuffle(others)
        num_dialogues = max(1, round(plan.seconds / DIALOGUE_SECONDS))
        return [([own, *others])[i % (len(others) + 1)] for i in range(num_dialogues)]


def _sets_of_facts(num_dialogues: int, seconds: float, grammar: ScenarioGrammar) -> list[int]:
    """Return the number of fact kinds in each dialogue: fewer if a recording returns to a place too often.

    Every place has `SETS_A_PLACE` sets for its visits, evenly over them, and places take turns at being the
    one that has a set more.
    """
    num_places = len(grammar.modifiers)
    num_visits = -(-num_dialogues // num_places)
    wanted = min(max(1, round(seconds / FACT_SECONDS / NUM_CHOICES)), SETS_A_PLACE / num_visits)

    def sets_before(visit: int, place: int) -> int:
        return int(visit * wanted + place / num_places)

    visits = (divmod(dialogue, num_places) for dialogue in range(num_dialogues))
    return [sets_before(visit + 1, place) - sets_before(visit, place) for visit, place in visits]


def _facts_at(positions: tuple[float, ...], num_facts: int) -> list[int]:
    """Choose the fact at each position; the next free one where two positions share one."""
    if len(positions) > num_facts:
        raise ValueError(f"{len(positions)} questions, but the recording has only {num_facts} facts")
    taken: list[int] = []
    for position in positions:
        wanted = position * num_facts
        free = [number for number in range(num_facts) if number not in taken]
        taken.append(min(free, key=lambda number: abs(number + 0.5 - wanted)))
    return taken


def _cast(grammar: ScenarioGrammar, rng: random.Random) -> tuple[Speaker, ...]:
    """Choose speakers, women and men in turn."""
    number = rng.randint(*grammar.num_speakers)
    women, men = rng.sample(FEMALE_NAMES, 3), rng.sample(MALE_NAMES, 3)
    first = rng.randrange(2)
    return tuple(
        Speaker(name=women.pop(), gender="female")
        if (i + first) % 2
        else Speaker(name=men.pop(), gender="male")
        for i in range(number)
    )


def _take_turns(
    sentences: list[str], speakers: tuple[Speaker, ...], grammar: ScenarioGrammar, rng: random.Random
) -> tuple[tuple[Turn, ...], list[tuple[int, int]]]:
    """Cut the sentences into turns; also where each sentence went: (turn, sentence)."""
    turns: list[Turn] = []
    where: list[tuple[int, int]] = []
    begin, last = 0, ""
    while begin < len(sentences):
        size = rng.randint(*grammar.sentences_per_turn)
        others = [speaker.name for speaker in speakers if speaker.name != last] or [last]
        last = rng.choice(others)
        part = tuple(sentences[begin : begin + size])
        where += [(len(turns), number) for number in range(len(part))]
        turns.append(Turn(speaker=last, sentences=part))
        begin += size
    return tuple(turns), where


def _ask(
    facts: list[tuple[int, Fact]],
    number: int,
    letter: str,
    where: list[tuple[int, int]],
    rng: random.Random,
) -> ScriptQuestion:
    """Make a question about one fact; wrong choices are the values of nearby facts of its kind."""
    sentence, fact = facts[number]
    nearby = sorted(
        (abs(at - number), other.value)
        for at, (_, other) in enumerate(facts)
        if other.relation is fact.relation and other.value != fact.value
    )
    wrong = list(dict.fromkeys(value for _, value in nearby))[: NUM_CHOICES - 1]
    absent = [
        value
        for value in fact.relation.values
        if value != fact.value and all(value != other for _, other in nearby)
    ]
    if absent and rng.random() < ABSENT_CHOICE_SHARE:
        wrong[rng.randrange(len(wrong))] = rng.choice(absent)
    rng.shuffle(wrong)
    wrong.insert(LETTERS.index(letter), fact.value)
    turn, place = where[sentence]
    return ScriptQuestion(
        question=rng.choice(fact.relation.questions).format(subject=fact.subject),
        choices=tuple(wrong),
        answer=letter,
        turn=turn,
        sentence=place,
    )
