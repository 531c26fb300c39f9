"""A reader of scripts that knows only the grammar's data files, and plans for scripts to read."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from hypothesis import strategies as st

import speechprune.benchmarks.builder
from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.benchmarks.builder.plan import ItemsOptions, plan_recordings
from speechprune.benchmarks.builder.script import RecordingPlan, Script

FOLDER = Path(speechprune.benchmarks.builder.__file__).with_name("grammar")
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
