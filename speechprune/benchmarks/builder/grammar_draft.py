"""Draft of a script: dialogues of facts and filler sentences, before they are split into turns."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import accumulate

from speechprune.benchmarks.builder.grammar import HESITATIONS, Fact, Relation, ScenarioGrammar

NUM_CHOICES = 4
SECONDS_PER_CHARACTER, SECONDS_PER_SENTENCE = 0.056, 0.42  # of espeak-ng's speech, pause included
MAX_DRAWS = 1000  # of four subjects, before a kind of fact counts as used up


@dataclass
class Draft:
    """Draft of a script: sentences in order, and which of them state a fact."""

    sentences: list[str] = field(default_factory=list)
    facts: list[tuple[int, Fact]] = field(default_factory=list)  # number of the sentence, fact

    def state_fact(self, fact: Fact, rng: random.Random) -> None:
        """Append a sentence that states a fact."""
        self.facts.append((len(self.sentences), fact))
        statement = rng.choice(fact.relation.statements)
        self.sentences.append(_hesitate(statement, rng).format(subject=fact.subject, value=fact.value))

    def move_fact(self, number: int, position: float) -> None:
        """Move a fact so that its middle is as close as possible to a position, 0 to 1, in the draft."""
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


def write_dialogue(
    draft: Draft,
    grammar: ScenarioGrammar,
    place: tuple[str, str],
    seconds: float,
    num_sets: int,
    fact_group: str,
    stated: set[tuple[str, str]],
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
            facts += _make_facts(grammar.relations[name], grammar.modifiers[place], fact_group, stated, rng)
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
            draft.state_fact(facts[number], rng)
    draft.sentences.append(closing)
    _trim(draft, begin, seconds, set(grammar.fillers))


def _trim(draft: Draft, begin: int, seconds: float, fillers: set[str]) -> None:
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
    relation: Relation, modifiers: list[str], group: str, stated: set[tuple[str, str]], rng: random.Random
) -> list[Fact]:
    """Make as many facts of one kind as a question has choices, no two with the same subject or value.

    Subjects that the recording has already spoken of are left out, so no fact contradicts another; none
    where too few others are left.
    """
    for _ in range(MAX_DRAWS):
        pairs = zip(rng.sample(modifiers, NUM_CHOICES), rng.sample(relation.heads, NUM_CHOICES), strict=True)
        subjects = [f"{modifier} {head}" for modifier, head in pairs]
        if any((relation.name, subject) in stated for subject in subjects):
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
            stated |= {(relation.name, fact.subject) for fact in facts}
            return facts
    return []


def _hesitate(sentence: str, rng: random.Random) -> str:
    """Sometimes add a hesitation at the start, sometimes in the middle."""
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
    """Distribute `total` sentences over gaps, evenly up to chance."""
    gaps = [total // num_gaps] * num_gaps
    for number in rng.sample(range(num_gaps), total % num_gaps):
        gaps[number] += 1
    return gaps
