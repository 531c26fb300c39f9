"""Grammar with a closed vocabulary: scenarios, topics, and their kinds of facts.

A fact is a subject and a value: the security review is on Thursday. The grammar is data: ``grammar/*.yaml``.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from speechprune.benchmarks.builder.script import Scenario

GRAMMAR_FOLDER = Path(__file__).with_name("grammar")
HELD_OUT_SHARE = 4  # one of this many pairs of subject and value is held out from training
HESITATIONS = ("um", "uh", "well", "you know", "I mean", "so")


@dataclass(frozen=True)
class Relation:
    """One kind of fact: its subjects, values, statements and questions."""

    name: str
    heads: list[str]
    values: list[str]
    statements: list[str]
    questions: list[str]


@dataclass(frozen=True)
class ScenarioGrammar:
    """One scenario: its relations, its small talk, its topics."""

    name: Scenario
    num_speakers: tuple[int, int]
    sentences_per_turn: tuple[int, int]
    openings: list[str]
    fillers: list[str]
    closings: list[str]
    relations: dict[str, Relation]
    topic_relations: dict[str, list[str]]
    modifiers: dict[tuple[str, str], list[str]]  # by (topic, subtopic)


@dataclass(frozen=True)
class Fact:
    """A fact that is stated once in a recording."""

    relation: Relation
    subject: str
    value: str

    @property
    def group(self) -> str:
        """Whether the pair of subject and value may be used in training."""
        key = f"{self.relation.name} {self.subject} {self.value}"
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        return "training" if number % HELD_OUT_SHARE else "held_out"


@functools.cache
def load_grammar() -> dict[str, ScenarioGrammar]:
    """Load all scenarios, by name."""
    values = yaml.safe_load((GRAMMAR_FOLDER / "values.yaml").read_text())
    grammars = {}
    for path in sorted(GRAMMAR_FOLDER.glob("*.yaml")):
        if path.name == "values.yaml":
            continue
        data = yaml.safe_load(path.read_text())
        relations = {
            name: Relation(name, r["heads"], [str(v) for v in values[name]], r["statements"], r["questions"])
            for name, r in data["relations"].items()
        }
        grammars[data["scenario"]] = ScenarioGrammar(
            name=data["scenario"],
            num_speakers=tuple(data["num_speakers"]),
            sentences_per_turn=tuple(data["sentences_per_turn"]),
            openings=data["openings"],
            fillers=data["fillers"],
            closings=data["closings"],
            relations=relations,
            topic_relations={
                topic: entry.get("relations", list(relations)) for topic, entry in data["topics"].items()
            },
            modifiers={
                (topic, subtopic): modifiers
                for topic, entry in data["topics"].items()
                for subtopic, modifiers in entry["subtopics"].items()
            },
        )
    return grammars


def vocabulary() -> list[str]:
    """Return every word of a script, a question or a choice, as `plain_word` writes it, sorted."""
    texts: list[str] = [*HESITATIONS]
    for grammar in load_grammar().values():
        texts += [*grammar.openings, *grammar.fillers, *grammar.closings]
        for (_, subtopic), modifiers in grammar.modifiers.items():
            texts += [subtopic, *modifiers]
        for relation in grammar.relations.values():
            texts += [*relation.heads, *relation.values, *relation.statements, *relation.questions]
    plain = (re.sub(r"\{\w+\}", " ", text) for text in texts)
    return sorted({plain_word(word) for text in plain for word in re.findall(r"[\w']+", text)})


def plain_word(word: str) -> str:
    """Return a word in lower case, except "I"."""
    return word if word == "I" else word.lower()


def subject_words(question: str) -> list[str]:
    """Return the subject of a grammar's question: the two words after its last "the", as `plain_word`s."""
    words = [plain_word(word) for word in re.findall(r"[\w']+", question)]
    last = max(number for number, word in enumerate(words) if word == "the")
    return words[last + 1 : last + 3]
