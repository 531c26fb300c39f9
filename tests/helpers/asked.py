"""Questions about recordings of several lengths, and their answers by the straight line."""

from speechprune import (
    Answer,
    AnsweringOptions,
    SpeechLM,
    SpeechPrune,
)
from speechprune.inference.answer import answer_items
from speechprune.inference.types import Item
from speechprune.pruning import METHODS

LENGTHS = [12.0, 40.0, 65.0]  # seconds: 1, 2 and 3 windows; in all 3 full ones and 3 short ones
CHOICES = ("In the garden", "At the office", "By the lighthouse", "Nowhere")
OPTIONS = AnsweringOptions(max_new_tokens=4)
SMALL = {"phase1_budget": 200}


def method_of(name: str):
    rate = {} if name in ("truncate", "none") else {"pruning_rate": 0.35}
    return METHODS[name](**SMALL, **rate)


def ask(audios, *, open_questions: bool = True) -> list[Item]:
    """Three questions of each recording, the last one open-ended."""
    return [
        Item(
            item_id=f"recording {i} question {j}",
            audio=audio,
            question=question,
            choices=None if open_questions and j == 2 else CHOICES[: 4 - j],
        )
        for i, audio in enumerate(audios)
        for j, question in enumerate(["Where do they meet?", "Who has the red notebook?", "Why so late?"])
    ]


def answered(lm: SpeechLM, items, method=None, options: AnsweringOptions = OPTIONS) -> list[Answer]:
    outcomes = answer_items(lm.model, items, method or SpeechPrune(**SMALL), options)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes
