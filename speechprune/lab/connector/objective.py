"""Training objective of the connector: CTC over the language model's own tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from speechprune.lab.connector.windows import BLANK, IGNORED, WindowBatch

FRAMES_PER_TOKEN = 4  # encoder positions of 20 ms: 12.5 audio tokens a second


class Connector(nn.Module):
    """Positions of the encoder, four at a time, to a vector among the language model's embeddings.

    - ``encoder_size``: d of the encoder.
    - ``hidden_size``: its own.
    - ``embedding_size``: D of the language model.
    """

    def __init__(self, encoder_size: int, hidden_size: int, embedding_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FRAMES_PER_TOKEN * encoder_size)
        self.up = nn.Linear(FRAMES_PER_TOKEN * encoder_size, hidden_size)
        self.down = nn.Linear(hidden_size, embedding_size)
        self.blank = nn.Linear(hidden_size, 1)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors ``(..., n, D)`` and the blank's logit ``(..., n, 1)`` of states ``(..., 4 n, d)``."""
        stacked = states.unflatten(-2, (-1, FRAMES_PER_TOKEN)).flatten(-2)
        hidden = functional.gelu(self.up(self.norm(stacked)))
        return self.down(hidden), self.blank(hidden)


class CtcObjective(nn.Module):
    """Encoder and connector, and their loss on spoken windows.

    - ``encoder``: Whisper's.
    - ``connector``: trained with the encoder's last layers.
    - ``embeddings``: of the tokens that occur in training, ``(V, D)``.
    - ``free_layers``: how many layers of the encoder are trained.
    """

    directions: torch.Tensor

    def __init__(
        self, encoder: Any, connector: Connector, embeddings: torch.Tensor, free_layers: int
    ) -> None:
        super().__init__()
        self.encoder, self.connector = encoder, connector
        self.register_buffer("directions", unit_directions(embeddings).bfloat16(), persistent=False)
        self.encoder.requires_grad_(False)
        self.first_free = len(self.encoder.layers) - free_layers
        for layer in self.encoder.layers[self.first_free :]:
            layer.requires_grad_(True)
        self.encoder.layer_norm.requires_grad_(True)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of the blank and of every token, ``(windows, n, 1 + V)``."""
        states = self.encoder(features.to(self.encoder.conv1.weight.dtype)).last_hidden_state
        vectors, blank = self.connector(states)
        return torch.cat([blank, vectors @ self.directions.T], dim=-1)

    def losses(self, batch: WindowBatch) -> dict[str, torch.Tensor]:
        """CTC, and cross-entropy against the frames' labels: both as nats a target token."""
        log_probs = functional.log_softmax(self.logits(batch.features).float(), dim=-1)
        num_tokens = batch.target_lengths.sum()
        lengths = torch.full(log_probs.shape[:1], log_probs.shape[1])
        ctc = functional.ctc_loss(
            log_probs.transpose(0, 1),
            batch.targets,
            lengths,
            batch.target_lengths,
            blank=BLANK,
            reduction="sum",
            zero_infinity=True,
        )
        frames = functional.nll_loss(
            log_probs.flatten(0, 1), batch.frame_labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        right = log_probs.detach().argmax(-1) == batch.frame_labels
        spoken = batch.frame_labels > BLANK
        return {
            "ctc": ctc / num_tokens,
            "frames": frames / num_tokens,
            "frames right": right[spoken].float().mean(),
        }


def unit_directions(embeddings: torch.Tensor) -> torch.Tensor:
    """Embeddings without their mean, of length 1: ``(V, D)``."""
    return functional.normalize(embeddings.float() - embeddings.float().mean(0), dim=-1)


def best_path(logits: torch.Tensor) -> list[int]:
    """Classes on the best path of a window, ``(n, 1 + V)``: repeats are one, blanks are none."""
    best = torch.unique_consecutive(logits.argmax(-1))
    return [int(place) for place in best if place != BLANK]
