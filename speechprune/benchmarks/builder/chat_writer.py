"""Scripts by a chat model, from any server of OpenAI's chat protocol with structured output."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from speechprune.benchmarks.builder.dialogue import (
    INSTRUCTIONS,
    WORDS_PER_MINUTE,
    DialogueInvalid,
    DialogueReply,
    DialogueRequest,
    describe,
    read_dialogue,
    response_format,
)
from speechprune.benchmarks.builder.endpoint import AttemptFailed, Endpoint, EndpointError, EndpointOptions
from speechprune.benchmarks.builder.script import (
    Gender,
    RecordingPlan,
    Scenario,
    Script,
    ScriptQuestion,
    Speaker,
    Turn,
)
from speechprune.inference.prompts import LETTERS

MAX_DIALOGUE_SECONDS = 180.0  # what one call writes: chat models lose count of words in longer ones
MIN_WORDS_OF_SPEAKER = 25
NUM_SPEAKERS: dict[Scenario, tuple[int, int]] = {"lecture": (2, 3), "meeting": (3, 4), "conversation": (2, 3)}
NUM_SEEDS = 2**31  # servers differ in how large a seed they take


class WriterError(RuntimeError):
    """A script that could not be written; the message names it, the last problem and what to do."""


@dataclass(frozen=True, kw_only=True)
class ChatOptions(EndpointOptions):
    """A chat endpoint; see ``EndpointOptions`` for the rest. ``max_attempts`` holds for each dialogue.

    Parameters
    ----------
    temperature
        Default: the server's; some models allow no other.
    """

    temperature: float | None = None


class ChatWriter:
    """Writes scripts by asking a chat model; threads may share it."""

    def __init__(self, options: ChatOptions) -> None:
        self._options = options
        self._endpoint = Endpoint(options)

    def write(self, plan: RecordingPlan) -> Script:
        """Write one recording's script, in one call or, if it is long, in several dialogues.

        Dialogues with questions are written first, so that the other requests can list
        what not to contradict.

        Raises
        ------
        WriterError
            The endpoint refuses, or gave no valid reply in ``max_attempts``.
        """
        requests = plan_dialogues(plan)
        replies: dict[int, DialogueReply] = {}
        cast: tuple[Speaker, ...] = ()
        for request in sorted(requests, key=lambda request: (not request.positions, request.part)):
            summaries = tuple(
                " ".join([reply.summary, *(question.key_sentence for question in reply.questions)])
                for reply in replies.values()
            )
            try:
                reply = self._ask(replace(request, cast=cast, summaries=summaries), plan.seed + request.part)
            except EndpointError as error:
                part = "" if request.num_parts == 1 else f" (part {request.part + 1} of {request.num_parts})"
                raise WriterError(
                    f"recording {plan.recording_id}{part} could not be written: {error}"
                ) from error
            cast = cast or tuple(Speaker(name=s.name, gender=s.gender) for s in reply.speakers)
            replies[request.part] = reply
        return join_dialogues(plan, cast, [replies[part] for part in range(len(requests))])

    def _ask(self, request: DialogueRequest, seed: int) -> DialogueReply:
        body: dict[str, Any] = {
            "model": self._options.model,
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": describe(request)},
            ],
            "response_format": response_format(),
            "seed": seed % NUM_SEEDS,
        }
        if self._options.temperature is not None:
            body["temperature"] = self._options.temperature

        def read(content: bytes) -> DialogueReply:
            text = ""
            try:
                text = _message_of(content)
                return read_dialogue(text, request)
            except DialogueInvalid as error:
                raise AttemptFailed(
                    f"the model's reply is not valid: {error}",
                    advice="ask a more capable model, or raise max_attempts",
                    next_body=_sent_back(body, text, str(error)),
                ) from error

        return self._endpoint.post("/chat/completions", body, read)


def _message_of(content: bytes) -> str:
    """Take the model's text out of a chat completion.

    Raises
    ------
    AttemptFailed
        It is no chat completion.
    DialogueInvalid
        It holds no complete text.
    """
    try:
        choice = json.loads(content)["choices"][0]
        finish_reason, message = choice.get("finish_reason"), choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise AttemptFailed(
            f"the reply is no chat completion: {content.decode(errors='replace')!r}",
            advice="check base_url: is it a server of OpenAI's protocol, with /v1 at the end?",
        ) from None
    if finish_reason == "length":  # not sent back: it may have run on without end
        raise DialogueInvalid("- it was cut off at the limit of tokens: keep to the length asked for")
    if not text:
        raise DialogueInvalid(f"- there is no text: {refusal or 'the message is empty'}")
    return text


def _sent_back(body: dict[str, Any], text: str, problems: str) -> dict[str, Any]:
    """Extend the request by the reply and its problems; earlier attempts are left out."""
    correction = f"This was not valid:\n{problems}\nWrite the whole reply again, with all of this put right."
    return body | {
        "messages": [
            *body["messages"],
            {"role": "assistant", "content": text or "(no complete reply)"},
            {"role": "user", "content": correction},
        ]
    }


def plan_dialogues(plan: RecordingPlan) -> list[DialogueRequest]:
    """Split a recording into dialogues of equal length, each with the questions whose facts fall into it."""
    num_parts = max(1, math.ceil(plan.seconds / MAX_DIALOGUE_SECONDS))
    return [
        DialogueRequest(
            scenario=plan.scenario,
            topic=plan.topic,
            subtopic=plan.subtopic,
            seconds=plan.seconds / num_parts,
            positions=tuple(
                position * num_parts - part
                for position in plan.positions
                if int(position * num_parts) == part
            ),
            genders=_genders(plan),
            part=part,
            num_parts=num_parts,
        )
        for part in range(num_parts)
    ]


def _genders(plan: RecordingPlan) -> tuple[Gender, ...]:
    """Draw women and men in equal number, or one more of either by chance."""
    rng = random.Random(f"{plan.seed} genders")
    room = int(plan.seconds / 60 * WORDS_PER_MINUTE / MIN_WORDS_OF_SPEAKER)
    num_speakers = max(2, min(rng.randint(*NUM_SPEAKERS[plan.scenario]), room))
    genders = rng.sample(get_args(Gender), 2)
    return tuple(genders[number % 2] for number in range(num_speakers))


def join_dialogues(plan: RecordingPlan, cast: Sequence[Speaker], replies: Sequence[DialogueReply]) -> Script:
    """Join all dialogues in order to one script; right answers stand at the plan's letters."""
    rng = random.Random(f"{plan.seed} choices")
    letters = iter(plan.letters)
    turns: list[Turn] = []
    questions: list[ScriptQuestion] = []
    for reply in replies:
        for asked in reply.questions:
            turn, sentence = _find_sentence(reply, asked.key_sentence)
            letter = next(letters)
            choices = rng.sample(asked.wrong, len(asked.wrong))
            choices.insert(LETTERS.index(letter), asked.right)
            questions.append(
                ScriptQuestion(
                    question=asked.question,
                    choices=tuple(choices),
                    answer=letter,
                    turn=len(turns) + turn,
                    sentence=sentence,
                )
            )
        turns += [Turn(speaker=turn.speaker, sentences=tuple(turn.sentences)) for turn in reply.turns]
    return Script(
        scenario=plan.scenario,
        topic=plan.topic,
        subtopic=plan.subtopic,
        speakers=tuple(cast),
        turns=tuple(turns),
        questions=tuple(questions),
    )


def _find_sentence(reply: DialogueReply, wanted: str) -> tuple[int, int]:
    """Find a sentence: number of the turn, and of the sentence in it."""
    return next(
        (number, turn.sentences.index(wanted))
        for number, turn in enumerate(reply.turns)
        if wanted in turn.sentences
    )
