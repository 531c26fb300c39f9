"""Training objective of the connector: CTC over the language model's own tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from speechprune.lab.connector.windows import IGNORED, WindowBatch
from speechprune.models.ctc import BLANK, Connector, CtcRecogniser, unit_directions


class CtcObjective(CtcRecogniser):
    """Encoder and connector, and their loss on spoken windows.

    - ``encoder``: Whisper's.
    - ``connector``: trained with the encoder's last layers.
    - ``embeddings``: of the tokens that occur in training, ``(V, D)``.
    - ``free_layers``: how many layers of the encoder are trained.
    """

    def __init__(
        self, encoder: Any, connector: Connector, embeddings: torch.Tensor, free_layers: int
    ) -> None:
        super().__init__(encoder, connector, unit_directions(embeddings).bfloat16())
        self.encoder.requires_grad_(False)
        self.first_free = len(self.encoder.layers) - free_layers
        for layer in self.encoder.layers[self.first_free :]:
            layer.requires_grad_(True)
        self.encoder.layer_norm.requires_grad_(True)

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


def best_path(logits: torch.Tensor) -> list[int]:
    """Classes on the best path of a window, ``(n, 1 + V)``: repeats are one, blanks are none."""
    best = torch.unique_consecutive(logits.argmax(-1))
    return [int(place) for place in best if place != BLANK]
