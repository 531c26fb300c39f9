"""Request for one dialogue to a chat model, and the checks of its reply (the paper's section II-B)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from speechprune.benchmarks.builder.script import Gender, Scenario, Speaker

WORDS_PER_MINUTE = 150  # of natural speech
WORD_TOLERANCE = 0.25  # of the number of words
POSITION_TOLERANCE = 0.2  # of the dialogue's length
NUM_WRONG_CHOICES = 3
MIN_SPOKEN_WRONG_CHOICES = 2  # of them, spoken in the dialogue about something else
MAX_PROBLEMS = 8  # named to the model at once

INSTRUCTIONS = """\
You write transcripts of spoken English that can't be told from natural talk. They are read out by a speech
synthesizer, and listeners are asked for a critical fact that is said only once.

The talk:
- People talk as they do: fillers and hesitations (uh, um, oh, well, you know), false starts, short
  reactions, turns of very different length. Each turn follows from the one before.
- A turn is a list of complete sentences. They are read out as they stand: write numbers, dates, times and
  units in words; no abbreviations, headings, brackets, stage directions or speakers' names before the text.
- No two facts contradict each other, and nothing is corrected later.

Each question:
- It asks for one critical fact, said once, in one sentence, among distractors: other facts of the same kind
  (if it is a day, other days; if it is a name, other names) that are said about something else.
- `key_sentence` is that sentence, copied exactly from the turn's list. It stands nowhere else.
- `right` is the answer in a few words, copied from the key sentence.
- `wrong` are three other answers of the same kind and length. Copy at least two of them from other sentences,
  where they are said about something else.
- It says exactly what is meant, has one right answer, and can't be answered without listening.

`summary` names the facts that were said, in one or two sentences.
"""

SCENES: dict[Scenario, str] = {
    "lecture": "a lecturer explains, and students ask and remark",
    "meeting": "colleagues report, plan and decide",
    "conversation": "people who know each other talk about everyday things",
}


@dataclass(frozen=True, kw_only=True)
class DialogueRequest:
    """Requirements on one dialogue: a whole recording, or one part of a long one.

    Parameters
    ----------
    scenario, topic, subtopic
        Its place in the hierarchy.
    seconds
        Length when spoken.
    positions
        Relative position of each question's critical fact in this dialogue, 0 to 1.
    genders
        Genders of the speakers.
    cast
        Speakers known from another part, else empty.
    part, num_parts
        Which part of the recording, from 0.
    summaries
        Summaries of the parts written before, whatever their numbers.
    """

    scenario: Scenario
    topic: str
    subtopic: str
    seconds: float
    positions: tuple[float, ...]
    genders: tuple[Gender, ...]
    cast: tuple[Speaker, ...] = ()
    part: int = 0
    num_parts: int = 1
    summaries: tuple[str, ...] = ()

    @property
    def num_words(self) -> int:
        """Number of words at ``WORDS_PER_MINUTE``."""
        return round(self.seconds / 60 * WORDS_PER_MINUTE)


def _filled(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError("is empty")
    return text


_Text = Annotated[str, AfterValidator(_filled)]  # white space normalised


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")  # strict structured output wants schemas closed


class SpeakerReply(_Reply):
    """A speaker as the model invents one."""

    name: _Text
    gender: Gender


class TurnReply(_Reply):
    """A turn as the model writes it."""

    speaker: _Text
    sentences: Annotated[list[_Text], Field(min_length=1)]


class QuestionReply(_Reply):
    """A question as the model asks it; the choices get their letters later."""

    question: _Text
    key_sentence: _Text
    right: _Text
    wrong: Annotated[list[_Text], Field(min_length=NUM_WRONG_CHOICES, max_length=NUM_WRONG_CHOICES)]


class DialogueReply(_Reply):
    """A dialogue as the model writes it; its JSON schema goes into the request."""

    speakers: list[SpeakerReply]
    turns: list[TurnReply]
    questions: list[QuestionReply]
    summary: _Text

    @property
    def sentences(self) -> list[str]:
        """All sentences, in order."""
        return [sentence for turn in self.turns for sentence in turn.sentences]


class DialogueInvalid(ValueError):
    """A reply that does not satisfy its request; the message lists all that is wrong with it."""


def response_format() -> dict[str, Any]:
    """Structured output: the schema that a reply must match."""
    schema = {"name": "dialogue", "strict": True, "schema": DialogueReply.model_json_schema()}
    return {"type": "json_schema", "json_schema": schema}


def describe(request: DialogueRequest) -> str:
    """Write the request in words."""
    words = request.num_words
    lines = [
        f"Write a {request.scenario}: {SCENES[request.scenario]}.",
        f"Topic: {request.topic}. Subtopic: {request.subtopic}.",
        f"Length: about {words} words, all turns together.",
    ]
    if request.num_parts > 1:
        lines.append(
            f"This is part {request.part + 1} of {request.num_parts} of one long {request.scenario}: "
            + ("it begins here." if request.part == 0 else "it is under way, so nobody greets anybody.")
        )
    if request.cast:
        cast = ", ".join(f"{speaker.name} ({speaker.gender})" for speaker in request.cast)
        lines.append(f"Speakers, by exactly these names: {cast}. List those who speak here.")
    else:
        lines.append(f"Speakers: {len(request.genders)}, of these genders: {', '.join(request.genders)}.")
    if request.summaries:
        lines.append("Other parts say the following; don't say it again, and contradict none of it:")
        lines += [f"- {summary}" for summary in request.summaries]
    lines.append(f"Questions: {len(request.positions)}.")
    lines += [
        f"- Question {number}: its key sentence stands about {position:.0%} of the way through, "
        f"near word {round(position * words)}."
        for number, position in enumerate(request.positions, 1)
    ]
    return "\n".join(lines)


def read_dialogue(content: str, request: DialogueRequest) -> DialogueReply:
    """Parse a reply and check it against its request.

    Raises
    ------
    DialogueInvalid
        The reply has problems; the message lists all of them for the model.
    """
    json = content[content.find("{") : content.rfind("}") + 1]  # some models wrap it in a code fence
    try:
        reply = DialogueReply.model_validate_json(json)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, detail['loc'])) or 'the reply'}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        ]
    else:
        problems = _problems_of_talk(reply, request) + _problems_of_questions(reply, request)
        if not problems:
            return reply
    raise DialogueInvalid("\n".join(f"- {problem}" for problem in problems[:MAX_PROBLEMS]))


def _problems_of_talk(reply: DialogueReply, request: DialogueRequest) -> list[str]:
    problems = []
    names = [speaker.name for speaker in reply.speakers]
    if len(set(names)) < len(names):
        problems.append("two speakers have one name")
    if set(names) != {turn.speaker for turn in reply.turns}:
        problems.append("the speakers listed and those who have turns are not the same")
    if request.cast:
        if not {(speaker.name, speaker.gender) for speaker in reply.speakers} <= {
            (speaker.name, speaker.gender) for speaker in request.cast
        }:
            problems.append("there are speakers who are not among those given, or of another gender")
    elif sorted(speaker.gender for speaker in reply.speakers) != sorted(request.genders):
        problems.append(f"the speakers must be of these genders: {', '.join(request.genders)}")
    num_words = sum(len(sentence.split()) for sentence in reply.sentences)
    if abs(num_words - request.num_words) > WORD_TOLERANCE * request.num_words:
        problems.append(f"the dialogue has {num_words} words and needs about {request.num_words}")
    problems += [
        f"this can't be read out for its brackets or digits; write it in words: {sentence!r}"
        for sentence in reply.sentences
        if re.search(r"[][(){}<>*\d]", sentence)
    ]
    return problems


def _problems_of_questions(reply: DialogueReply, request: DialogueRequest) -> list[str]:
    if len(reply.questions) != len(request.positions):
        return [f"there are {len(reply.questions)} questions; {len(request.positions)} are asked for"]
    problems = []
    if len({question.key_sentence for question in reply.questions}) < len(reply.questions):
        problems.append("two questions are about one sentence")
    for number, (question, position) in enumerate(zip(reply.questions, request.positions, strict=True), 1):
        found = [
            *_problems_of_choices(question, reply.sentences),
            *_problems_of_place(question, reply.sentences, position),
        ]
        problems += [f"question {number}: {problem}" for problem in found]
    return problems


def _problems_of_choices(question: QuestionReply, sentences: Sequence[str]) -> list[str]:
    problems = []
    choices = [_plain(choice) for choice in (question.right, *question.wrong)]
    if len(set(choices)) < len(choices) or "" in choices:
        problems.append("the four choices must differ, in more than punctuation or case")
    if not _says(question.key_sentence, question.right):
        problems.append(f"{question.right!r} is not copied from the key sentence")
    others = [sentence for sentence in sentences if sentence != question.key_sentence]
    num_spoken = sum(any(_says(other, wrong) for other in others) for wrong in question.wrong)
    if num_spoken < MIN_SPOKEN_WRONG_CHOICES:
        problems.append(
            f"only {num_spoken} of the wrong choices are said in other sentences; "
            f"at least {MIN_SPOKEN_WRONG_CHOICES} must be, word for word"
        )
    return problems


def _problems_of_place(question: QuestionReply, sentences: Sequence[str], position: float) -> list[str]:
    if sentences.count(question.key_sentence) != 1:
        return [
            f"its key sentence must stand exactly once among the sentences, word for word; it stands "
            f"{sentences.count(question.key_sentence)} times: {question.key_sentence!r}"
        ]
    lengths = [len(sentence.split()) for sentence in sentences]
    place = sentences.index(question.key_sentence)
    start = sum(lengths[:place]) / sum(lengths)
    end = sum(lengths[: place + 1]) / sum(lengths)
    if max(start - position, position - end) > POSITION_TOLERANCE:
        return [f"its key sentence stands {start:.0%} of the way through; it belongs at about {position:.0%}"]
    return []


def _says(sentence: str, words: str) -> bool:
    return f" {_plain(words)} " in f" {_plain(sentence)} "


def _plain(text: str) -> str:
    """Return the words only: no case, no punctuation."""
    return " ".join(re.findall(r"[\w']+", text.casefold().replace("’", "'")))
