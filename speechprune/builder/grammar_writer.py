"""The built-in writer: scripts from the grammar, by seed, without a network.

A script says several facts of every kind between sentences that say nothing of the sort, and no two facts
about one thing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import accumulate

from speechprune.builder.grammar import HESITATIONS, Fact, Relation, ScenarioGrammar, load_grammar
from speechprune.builder.script import Question, RecordingPlan, Scenario, Script, Speaker, Turn
from speechprune.prompts import LETTERS

NUM_CHOICES = 4
DIALOGUE_SECONDS = 90.0  # a longer recording is several dialogues
FACT_SECONDS = 7.5  # one fact in so many seconds
SECONDS_PER_CHARACTER, SECONDS_PER_SENTENCE = 0.056, 0.42  # of espeak-ng's speech, pause included
SETS_A_PLACE = 15  # of four facts of a kind, that a topic's subtopic has for one recording: an hour's
MAX_DRAWS = 1000  # of four subjects, before a kind of fact counts as used up
ABSENT_CHOICE_SHARE = 0.2  # questions with one wrong choice that the recording doesn't hold
FEMALE_NAMES = ("Emma", "Nora", "Sarah", "Linda", "Alice", "Clara")
MALE_NAMES = ("David", "Paul", "Henry", "Martin", "James", "Leo")


@dataclass
class _Draft:
    """A script in the making: sentences in order, and which of them say a fact."""

    sentences: list[str] = field(default_factory=list)
    facts: list[tuple[int, Fact]] = field(default_factory=list)  # number of the sentence, fact

    def say_fact(self, fact: Fact, rng: random.Random) -> None:
        self.facts.append((len(self.sentences), fact))
        statement = rng.choice(fact.relation.statements)
        self.sentences.append(_hesitate(statement, rng).format(subject=fact.subject, value=fact.value))

    def move_fact(self, number: int, position: float) -> None:
        """Say a fact so that its middle comes as close as can be to a position, 0 to 1, in the draft."""
        at, fact = self.facts[number]
        total = _total_seconds(self.sentences)
        sentence = self.sentences.pop(at)
        wanted = position * total - _spoken_seconds(sentence) / 2
        starts = list(accumulate(map(_spoken_seconds, self.sentences), initial=0.0))
        new = min(range(len(starts)), key=lambda place: abs(starts[place] - wanted))
        self.sentences.insert(new, sentence)
        without = [(n - (n > at), other) for n, other in self.facts]
        self.facts = [(n + (n >= new), other) for n, other in without]
        self.facts[number] = (new, fact)


class GrammarWriter:
    """Writes scripts; the same plan gives the same script."""

    def topics(self) -> list[tuple[Scenario, str, str]]:
        """Every (scenario, topic, subtopic) there is."""
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
        draft, said = _Draft(), set[tuple[str, str]]()
        seconds = plan.seconds / len(places)
        for place, num_sets in zip(places, _sets_of_facts(len(places), seconds, grammar), strict=True):
            _write_dialogue(draft, grammar, place, seconds, num_sets, plan.fact_group, said, rng)
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
    """How many kinds of facts each dialogue says: fewer in recordings that return to a place too often.

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


def _write_dialogue(
    draft: _Draft,
    grammar: ScenarioGrammar,
    place: tuple[str, str],
    seconds: float,
    num_sets: int,
    fact_group: str,
    said: set[tuple[str, str]],
    rng: random.Random,
) -> None:
    """Append an opening, facts with other sentences between them, a closing."""
    topic, subtopic = place
    names = grammar.topic_relations[topic]
    first = rng.sample(names, min(len(names), num_sets))
    others = [name for name in names if name not in first]  # in place of those that are used up
    facts: list[Fact] = []
    for name in [*first, *others]:
        if len(facts) < NUM_CHOICES * num_sets:
            facts += _make_facts(grammar.relations[name], grammar.modifiers[place], fact_group, said, rng)
    rng.shuffle(facts)
    opening = rng.choice(grammar.openings).format(subtopic=subtopic)
    closing = rng.choice(grammar.closings)
    begin = len(draft.sentences)
    draft.sentences.append(opening)
    pool = grammar.fillers
    fact_seconds = sum(_spoken_seconds("x" * 38) for _ in facts)
    room = seconds - fact_seconds - _spoken_seconds(opening) - _spoken_seconds(closing)
    mean_filler = sum(map(_spoken_seconds, pool)) / len(pool)
    num_fillers = max(0, round(room / mean_filler))
    deck = [sentence for _ in range(-(-num_fillers // len(pool))) for sentence in rng.sample(pool, len(pool))]
    gaps = _spread(num_fillers, len(facts) + 1, rng)
    for number, gap in enumerate(gaps):
        for _ in range(gap):
            draft.sentences.append(_hesitate(deck.pop(), rng))
        if number < len(facts):
            draft.say_fact(facts[number], rng)
    draft.sentences.append(closing)
    _trim(draft, begin, seconds, set(grammar.fillers))


def _trim(draft: _Draft, begin: int, seconds: float, fillers: set[str]) -> None:
    """Drop filler sentences from the end backwards while the dialogue is much too long."""
    facts_at = {number for number, _ in draft.facts}
    number = len(draft.sentences) - 2
    while number > begin and _total_seconds(draft.sentences[begin:]) > seconds * 1.03:
        if number not in facts_at:
            del draft.sentences[number]
            draft.facts = [(n - (n > number), fact) for n, fact in draft.facts]
            facts_at = {n for n, _ in draft.facts}
        number -= 1


def _make_facts(
    relation: Relation, modifiers: list[str], group: str, said: set[tuple[str, str]], rng: random.Random
) -> list[Fact]:
    """As many facts of one kind as a question has choices, no two about one thing or with one value.

    Subjects that the recording has already spoken of are left out, so no fact contradicts another; none
    where too few others are left.
    """
    for _ in range(MAX_DRAWS):
        pairs = zip(rng.sample(modifiers, NUM_CHOICES), rng.sample(relation.heads, NUM_CHOICES), strict=True)
        subjects = [f"{modifier} {head}" for modifier, head in pairs]
        if any((relation.name, subject) in said for subject in subjects):
            continue
        facts: list[Fact] = []
        for subject in subjects:
            taken = {fact.value for fact in facts}
            options = [
                fact
                for fact in (Fact(relation, subject, value) for value in relation.values)
                if fact.group == group and fact.value not in taken
            ]
            if options:
                facts.append(rng.choice(options))
        if len(facts) == NUM_CHOICES:
            said |= {(relation.name, fact.subject) for fact in facts}
            return facts
    return []


def _hesitate(sentence: str, rng: random.Random) -> str:
    """Sometimes begin with a filler word, sometimes stop in the middle."""
    if rng.random() < 0.25:
        word = rng.choice(HESITATIONS)
        rest = sentence if sentence.startswith("I ") else sentence[0].lower() + sentence[1:]
        return f"{word[0].upper()}{word[1:]}, {rest}"
    if rng.random() < 0.15 and " the {subject}" in sentence[4:]:
        return sentence.replace(" the {subject}", f", {rng.choice(HESITATIONS[:2])}, the {{subject}}")
    return sentence


def _spoken_seconds(sentence: str) -> float:
    return SECONDS_PER_SENTENCE + SECONDS_PER_CHARACTER * len(sentence)


def _total_seconds(sentences: list[str]) -> float:
    return sum(map(_spoken_seconds, sentences))


def _spread(total: int, num_gaps: int, rng: random.Random) -> list[int]:
    """Share `total` sentences out over gaps, evenly but for chance."""
    gaps = [total // num_gaps] * num_gaps
    for number in rng.sample(range(num_gaps), total % num_gaps):
        gaps[number] += 1
    return gaps


def _facts_at(positions: tuple[float, ...], num_facts: int) -> list[int]:
    """The fact that stands at each position; the next free one where two want the same."""
    if len(positions) > num_facts:
        raise ValueError(f"{len(positions)} questions, but the recording has only {num_facts} facts")
    taken: list[int] = []
    for position in positions:
        wanted = position * num_facts
        free = [number for number in range(num_facts) if number not in taken]
        taken.append(min(free, key=lambda number: abs(number + 0.5 - wanted)))
    return taken


def _cast(grammar: ScenarioGrammar, rng: random.Random) -> tuple[Speaker, ...]:
    """Speakers, women and men by turns."""
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
) -> Question:
    """A question about one fact; wrong choices are what other facts of its kind say nearby."""
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
    return Question(
        question=rng.choice(fact.relation.questions).format(subject=fact.subject),
        choices=tuple(wrong),
        answer=letter,
        turn=turn,
        sentence=place,
    )
