"""Script of a recording: its text, its questions, and the plan that it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from speechprune.inference.prompts import LETTERS

Gender = Literal["female", "male"]
Scenario = Literal["lecture", "meeting", "conversation"]


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """Someone who speaks in a script; the voice is chosen later, by gender."""

    name: str
    gender: Gender


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Consecutive sentences of one speaker; each is spoken, and timed, on its own."""

    speaker: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ScriptQuestion:
    """A multiple-choice question about one critical fact.

    Parameters
    ----------
    question, choices
        Text of the question, and of its choices without letters.
    answer
        Letter of the right choice.
    turn, sentence
        Position of the critical fact: number of the turn, and of the sentence in it, from 0.
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    turn: int
    sentence: int

    def __post_init__(self) -> None:
        if self.answer not in LETTERS[: len(self.choices)]:
            raise ValueError(f"answer {self.answer!r} is no letter of {len(self.choices)} choices")


@dataclass(frozen=True, kw_only=True)
class Script:
    """The text of one recording.

    Parameters
    ----------
    scenario, topic, subtopic
        Its place in the hierarchy, as in the paper's section II.
    speakers
        All speakers.
    turns
        Turns in order.
    questions
        At least one question.

    Raises
    ------
    ValueError
        A turn's speaker, or a question's place, does not exist.
    """

    scenario: str
    topic: str
    subtopic: str
    speakers: tuple[Speaker, ...]
    turns: tuple[Turn, ...]
    questions: tuple[ScriptQuestion, ...]

    def __post_init__(self) -> None:
        names = {speaker.name for speaker in self.speakers}
        for number, turn in enumerate(self.turns):
            if turn.speaker not in names:
                raise ValueError(f"turn {number} is spoken by {turn.speaker!r}, who is none of the speakers")
        for question in self.questions:
            if not 0 <= question.turn < len(self.turns) or not (
                0 <= question.sentence < len(self.turns[question.turn].sentences)
            ):
                raise ValueError(
                    f"question {question.question!r} is about sentence {question.sentence} of turn "
                    f"{question.turn}, which the script does not have"
                )

    def key_sentence(self, question: ScriptQuestion) -> str:
        """Return the sentence that states the critical fact."""
        return self.turns[question.turn].sentences[question.sentence]


@dataclass(frozen=True, kw_only=True)
class RecordingPlan:
    """Plan of one recording of a benchmark; all are planned before any is written.

    Parameters
    ----------
    recording_id
        Unique in the benchmark; names the audio file.
    seed
        Seed of everything random in this recording.
    scenario, topic, subtopic
        Its place in the hierarchy.
    seconds
        Target length.
    letters
        Gold letter of each question: balanced over the benchmark.
    positions
        Relative position of each question's critical fact, 0 to below 1: even over
        the benchmark, ascending here.
    fact_group
        Facts to use: those a model was trained on, or those held out from training.
    voice_group
        Voices to use, likewise.
    """

    recording_id: str
    seed: int
    scenario: Scenario
    topic: str
    subtopic: str
    seconds: float
    letters: tuple[str, ...]
    positions: tuple[float, ...]
    fact_group: Literal["training", "held_out"]
    voice_group: Literal["training", "held_out"]
