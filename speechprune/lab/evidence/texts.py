"""Transcripts as encoded recordings: the embeddings of their true words stand for audio embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from speechprune.benchmarks.builder.script import Script
from speechprune.benchmarks.builder.spiral_texts import read_spiral_scripts
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.types import Item
from speechprune.lab.evidence.config import TextsOptions
from speechprune.models.base import SpeechModel
from speechprune.pruning.phase1 import frame_boundaries


@dataclass(frozen=True)
class TextItem:
    """A question about a transcript.

    Parameters
    ----------
    item
        Its ``audio`` holds the transcript's tokens, evenly spread over time at the model's token rate.
    is_key
        The tokens of the sentence that answers the question, bool, shape ``(N,)``.
    answer
        The letter of the right choice.
    """

    item: Item
    is_key: np.ndarray
    answer: str


def chosen_scripts(options: TextsOptions) -> list[tuple[str, Script]]:
    """Read the items that are to be measured."""
    scripts = read_spiral_scripts(options.texts)
    if options.development:
        return scripts[: options.num_development]
    return scripts[options.num_development :][: options.num_reported]


@torch.inference_mode()
def make_text_items(model: SpeechModel, item_id: str, script: Script) -> Iterator[TextItem]:
    """Encode a transcript, and put each of its questions to it."""
    ids: list[int] = []
    sentence_of: list[tuple[int, int]] = []
    for turn, spoken in enumerate(script.turns):
        for number, sentence in enumerate(spoken.sentences):
            own = model.tokenizer(f" {sentence}", add_special_tokens=False)["input_ids"]
            ids += own
            sentence_of += [(turn, number)] * len(own)
    edges = np.arange(len(ids) + 1) / model.shape.token_rate
    audio = EncodedAudio(
        embeds=model.embed_tokens(ids),
        times=np.stack([edges[:-1], edges[1:]], axis=1),
        frame_starts=frame_boundaries(edges[:-1]),
        seconds=float(edges[-1]),
        num_encoder_flops=0.0,
    )
    for number, question in enumerate(script.questions, start=1):
        place = (question.turn, question.sentence)
        yield TextItem(
            item=Item(
                item_id=f"{item_id}-{number}",
                audio=audio,
                question=question.question,
                choices=question.choices,
            ),
            is_key=np.array([own == place for own in sentence_of]),
            answer=question.answer,
        )
