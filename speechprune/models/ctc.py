"""Speech to a language model's tokens by CTC: Whisper's encoder and a connector, without a decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from speechprune.audio import SAMPLE_RATE
from speechprune.models.base import Window
from speechprune.models.log_mel import LogMel
from speechprune.models.whisper_text import Segment, Transcript

BLANK = 0  # class of a frame without a token; tokens' classes are from 1 on
POSITIONS_PER_FRAME = 4  # positions of the encoder of 20 ms
FRAMES_PER_SECOND = 12.5


class Connector(nn.Module):
    """Positions of the encoder, four at a time, to a vector among the language model's embeddings.

    - ``encoder_size``: d of the encoder.
    - ``hidden_size``: its own.
    - ``embedding_size``: D of the language model.
    """

    def __init__(self, encoder_size: int, hidden_size: int, embedding_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(POSITIONS_PER_FRAME * encoder_size)
        self.up = nn.Linear(POSITIONS_PER_FRAME * encoder_size, hidden_size)
        self.down = nn.Linear(hidden_size, embedding_size)
        self.blank = nn.Linear(hidden_size, 1)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors ``(..., n, D)`` and the blank's logit ``(..., n, 1)`` of states ``(..., 4 n, d)``."""
        stacked = states.unflatten(-2, (-1, POSITIONS_PER_FRAME)).flatten(-2)
        hidden = functional.gelu(self.up(self.norm(stacked)))
        return self.down(hidden), self.blank(hidden)


class CtcRecogniser(nn.Module):
    """Encoder and connector, whose vectors are compared with the embeddings of the tokens that are known.

    - ``encoder``: Whisper's.
    - ``directions``: see ``unit_directions``, ``(V, D)``.
    """

    directions: torch.Tensor

    def __init__(self, encoder: Any, connector: Connector, directions: torch.Tensor) -> None:
        super().__init__()
        self.encoder, self.connector = encoder, connector
        self.register_buffer("directions", directions, persistent=False)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of the blank and of every token, ``(windows, n, 1 + V)``."""
        states = self.encoder(features.to(self.encoder.conv1.weight.dtype)).last_hidden_state
        vectors, blank = self.connector(states)
        return torch.cat([blank, vectors @ self.directions.T], dim=-1)


def unit_directions(embeddings: torch.Tensor) -> torch.Tensor:
    """Embeddings without their mean, of length 1: ``(V, D)``."""
    return functional.normalize(embeddings.float() - embeddings.float().mean(0), dim=-1)


class CtcTranscriber:
    """Writes down windows by the best path: of each frame the likeliest class, words with their times.

    - ``recogniser``: in eval mode.
    - ``extractor``: Whisper's feature extractor.
    - ``tokenizer``: the language model's, of byte pairs.
    - ``token_ids``: of the classes from 1 on.
    """

    def __init__(
        self, recogniser: CtcRecogniser, extractor: Any, tokenizer: Any, token_ids: Sequence[int]
    ) -> None:
        self.recogniser = recogniser
        self.token_ids = token_ids
        self.extractor = extractor
        self._tokenizer = tokenizer
        self._log_mel = LogMel(extractor, recogniser.directions.device)
        texts = tokenizer.batch_decode([[token_id] for token_id in token_ids])
        self._begins_word = [text[:1].isspace() for text in texts]

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Window]) -> list[Transcript]:
        """Write down each window of a batch."""
        logits = self.recogniser.logits(self._log_mel([window.samples for window in windows]))
        paths = logits.argmax(-1).tolist()
        return [Transcript(self._segments(*pair)) for pair in zip(windows, paths, strict=True)]

    def _segments(self, window: Window, path: Sequence[int]) -> list[Segment]:
        """Words of a path up to the end of the sound: repeats are one token, blanks are none."""
        seconds = len(window.samples) / SAMPLE_RATE
        words: list[tuple[int, int, list[int]]] = []  # first frame, end, token ids
        frame = 0
        for place, repeats in groupby(path[: math.ceil(seconds * FRAMES_PER_SECOND)]):
            end = frame + len(list(repeats))
            if place != BLANK:
                first, before = frame, list[int]()
                if words and not self._begins_word[place - 1]:
                    first, _, before = words.pop()
                words.append((first, end, [*before, self.token_ids[place - 1]]))
            frame = end
        return [
            Segment(
                window.start_seconds + first / FRAMES_PER_SECOND,
                window.start_seconds + min(seconds, end / FRAMES_PER_SECOND),
                f" {text}",
            )
            for first, end, ids in words
            if (text := self._tokenizer.decode(ids).strip())
        ]
