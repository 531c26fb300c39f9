"""Questions about spoken sentences: which are spoken, and what the best path writes down of them."""

from itertools import chain

import pytest
import torch

from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.script import Script, ScriptQuestion, Speaker, Turn
from speechprune.lab.connector.config import SpeechOptions
from speechprune.lab.connector.questions import ConnectorTranscriber, ask
from speechprune.lab.connector.speakers import WindowSpeaker
from speechprune.lab.connector.start import Start
from speechprune.lab.connector.windows import BLANK, FRAMES_PER_SECOND
from speechprune.models.base import Window

TEXT = " The review is on Monday."
SENTENCES = ("It begins.", "The review is on Monday.", "Laura leads it.", "It ends at noon.", "That is all.")


class Known(torch.nn.Module):
    """A model whose best classes are known."""

    def __init__(self, best: list[int], num_classes: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.best = torch.nn.functional.one_hot(torch.tensor(best), num_classes).float()

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.best.expand(len(features), -1, -1)


def test_words_have_the_frames_of_their_tokens(tiny_cascade_parts, speech):
    extractor, tokenizer = tiny_cascade_parts
    token_ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    known = sorted(set(token_ids))
    classes = [1 + known.index(token_id) for token_id in token_ids]
    # each token for two frames, with a blank behind it, which parts equal neighbours
    best = list(chain.from_iterable((place, place, BLANK) for place in classes))
    objective = Known(best, 1 + len(known))
    start = Start(objective, extractor, tokenizer, known, torch.zeros(len(tokenizer), dtype=torch.long))
    window = Window(speech(2.0), 0.0)
    (transcript, same) = ConnectorTranscriber(start)([window, window])
    assert transcript == same
    assert "".join(segment.text for segment in transcript.segments) == tokenizer.decode(token_ids)
    assert [segment.text for segment in transcript.segments[:2]] == [" The", " review"]
    first, last = transcript.segments[0], transcript.segments[-1]
    assert first.start_seconds == 0.0
    assert last.end_seconds == pytest.approx((len(best) - 1) / FRAMES_PER_SECOND)


def script_with(sentences: tuple[str, ...], key: int) -> Script:
    return Script(
        scenario="meeting",
        topic="work",
        subtopic="plans",
        speakers=(Speaker(name="a", gender="female"),),
        turns=(Turn(speaker="a", sentences=sentences),),
        questions=(
            ScriptQuestion(question="When?", choices=("Monday", "Friday"), answer="A", turn=0, sentence=key),
        ),
    )


@pytest.mark.parametrize(("key", "expected"), [(0, SENTENCES[:3]), (2, SENTENCES[1:4]), (4, SENTENCES[2:])])
def test_the_sentences_around_the_key_are_spoken(key, expected):
    script, too_long = script_with(SENTENCES, key), script_with((" ".join(SENTENCES * 8),), 0)
    speaker = WindowSpeaker([script], Espeak(), "held_out", SpeechOptions(texts=()))
    (asked,) = ask([too_long, script], speaker, 5)
    assert asked.question == script.questions[0]
    assert asked.spoken.text == " ".join(expected)
