"""The no-audio baseline: what a model scores from questions and choices alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from speechprune.inference.answer import answer_items
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.base import SpeechModel
from speechprune.pruning import PruningInputs, PruningMethod, PruningResult


@dataclass(frozen=True, kw_only=True)
class NoAudio(PruningMethod):
    """Keeps nothing: the prompt as ever, with no audio token where the audio goes."""

    name: ClassVar[str] = "no_audio"

    def num_kept(self, num_tokens: int) -> int:
        """None."""
        return 0

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        """Choose no token."""
        return PruningResult(np.empty(0, np.int64))


def answer_without_audio(
    model: SpeechModel,
    questions: Sequence[tuple[str, Sequence[str]]],
    options: AnsweringOptions | None = None,
) -> list[Answer | Exception]:
    """Answer multiple-choice questions about recordings that the model is not given.

    Likelihoods are not calibrated: what that would subtract is all there is.

    Returns one ``Answer`` per question, in order, or the exception that it alone raised.
    """
    hidden_size = model.shape.decoder.hidden_size
    audio = EncodedAudio(  # stands for a recording: none of it is kept
        embeds=torch.zeros(1, hidden_size, dtype=model.dtype, device=model.device),
        times=np.zeros((1, 2)),
        frame_starts=np.array([0, 1]),
        seconds=0.0,
        num_encoder_flops=0.0,
    )
    items = [
        Item(item_id=str(number), audio=audio, question=question, choices=tuple(choices))
        for number, (question, choices) in enumerate(questions)
    ]
    options = replace(options or AnsweringOptions(), calibrate=False)
    return answer_items(model, items, NoAudio(), options)
