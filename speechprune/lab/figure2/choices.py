"""Tokens that each method keeps of an item, and their distance to the item's text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from loguru import logger

from speechprune.audio import decode_audio
from speechprune.data import Row
from speechprune.inference.answer import answer_prepared
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.prepare import prepare_queries
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.lab.figure2.drawing import nearest_query_distances
from speechprune.pruning import PruningMethod


@dataclass(frozen=True)
class TokenChoice:
    """Tokens that each method keeps of one item.

    Parameters
    ----------
    audio_embeds, query_embeds
        S, shape ``(N, D)``, and T, shape ``(L, D)``, float32.
    answers
        Answers by method.
    """

    row: Row
    audio_embeds: np.ndarray
    query_embeds: np.ndarray
    answers: dict[str, Answer]

    @property
    def distances(self) -> dict[str, float]:
        """Mean of ``nearest_query_distances`` over each method's kept tokens; under "" over all tokens."""
        of_all = nearest_query_distances(self.audio_embeds, self.query_embeds)
        kept = {name: answer.kept_indices for name, answer in self.answers.items()}
        return {"": float(of_all.mean())} | {name: float(of_all[i].mean()) for name, i in kept.items()}


def token_choices(
    lm: SpeechLM, rows: Iterable[Row], methods: dict[str, PruningMethod], options: AnsweringOptions
) -> Iterator[TokenChoice]:
    """Answer items by every method, recording by recording; those that fail are left out with a warning."""
    recordings: dict[Any, list[Row]] = {}
    for row in rows:
        recordings.setdefault((row["audio"], row["start"], row["end"]), []).append(row)
    for (audio, start, end), of_recording in recordings.items():
        try:
            encoded = lm.encode_many([decode_audio(audio, start=start, end=end)], [start or 0.0])[0]
        except (ValueError, OSError, torch.cuda.OutOfMemoryError) as error:
            logger.warning("left out: {}: {}", ", ".join(row["item_id"] for row in of_recording), error)
            continue
        yield from _of_recording(lm, encoded, of_recording, methods, options)


def _of_recording(
    lm: SpeechLM,
    audio: EncodedAudio,
    rows: list[Row],
    methods: dict[str, PruningMethod],
    options: AnsweringOptions,
) -> Iterator[TokenChoice]:
    items = [
        Item(
            item_id=row["item_id"],
            audio=audio,
            question=row["question"],
            choices=None if row["choices"] is None else tuple(row["choices"]),
        )
        for row in rows
    ]
    questions = prepare_queries(lm.model, items, list(methods.values()), options)
    outcomes = {name: answer_prepared(lm.model, questions, m, options) for name, m in methods.items()}
    for number, (row, question) in enumerate(zip(rows, questions, strict=True)):
        answers = {}
        for name, of_method in outcomes.items():
            outcome = of_method[number]
            if isinstance(outcome, Exception):
                logger.warning("left out: {}: {}", row["item_id"], outcome)
                break
            answers[name] = outcome
        if isinstance(question, Exception) or len(answers) < len(methods):
            continue
        yield TokenChoice(
            row, audio.embeds.float().cpu().numpy(), question.query_embeds.float().cpu().numpy(), answers
        )
