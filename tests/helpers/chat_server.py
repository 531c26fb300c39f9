"""A chat endpoint on this machine that writes valid dialogues, and a writer that asks it."""

import json

from speechprune.benchmarks.builder.chat_writer import ChatOptions, ChatWriter
from speechprune.benchmarks.builder.script import RecordingPlan
from tests.helpers.protocol_server import ProtocolServer, Reply, completion

KEY = "sk-very-secret-0123456789"
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def make_plan(**changes) -> RecordingPlan:
    defaults = {
        "recording_id": "garden-7",
        "seed": 7,
        "scenario": "conversation",
        "topic": "home",
        "subtopic": "garden",
        "seconds": 40.0,
        "letters": ("C",),
        "positions": (0.5,),
        "fact_group": "training",
        "voice_group": "training",
    }
    return RecordingPlan(**(defaults | changes))


def write_dialogue(request: dict) -> dict:
    """A valid dialogue for a request of the writer, read out of its words as a model would.

    Sentences of eight words; the key sentence of each question stands where it is asked for.
    """
    prompt = request["messages"][1]["content"]
    num_words = int(prompt.split("Length: about ")[1].split()[0])
    near = [int(text.split(".")[0]) for text in prompt.split("near word ")[1:]]
    if "by exactly these names: " in prompt:
        cast = prompt.split("by exactly these names: ")[1].split(". List")[0].split(", ")
        speakers = [dict(zip(("name", "gender"), entry[:-1].split(" ("), strict=True)) for entry in cast[:2]]
    else:
        genders = prompt.split("of these genders: ")[1].split(".")[0].split(", ")
        speakers = [{"name": f"Person {n}", "gender": gender} for n, gender in enumerate(genders)]
    sentences = [
        f"Well I think {DAYS[n % 3]} is for {'abcdefghij'[n // 10 % 10]} {'abcdefghij'[n % 10]}."
        for n in range(num_words // 8)
    ]
    questions = []
    for number, word in enumerate(near):
        key_sentence = f"Uh so the plumber comes on {DAYS[3 + number]} then."
        sentences[min(word // 8, len(sentences) - 1)] = key_sentence
        questions.append(
            {
                "question": f"When does plumber {number} come?",
                "key_sentence": key_sentence,
                "right": DAYS[3 + number],
                "wrong": DAYS[:3],
            }
        )
    turns = [
        {"speaker": speakers[n % len(speakers)]["name"], "sentences": [sentence]}
        for n, sentence in enumerate(sentences)
    ]
    return {
        "speakers": speakers,
        "turns": turns,
        "questions": questions,
        "summary": f"Seed {request['seed']}.",
    }


def good(request) -> Reply:
    return completion(json.dumps(write_dialogue(request.body)))


def then_good(*replies: Reply):
    """The replies given, then good ones."""
    left = iter(replies)
    return lambda request: next(left, None) or good(request)


def make_writer(server: ProtocolServer, **changes) -> ChatWriter:
    defaults = {
        "model": "tiny-chat",
        "base_url": server.base_url,
        "backoff_seconds": 0.001,
        "max_attempts": 3,
    }
    return ChatWriter(ChatOptions(**(defaults | changes)))
