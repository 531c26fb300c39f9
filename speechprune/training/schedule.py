"""Learning rates and number formats that both lessons share."""

from __future__ import annotations

import math

import torch
from torch import nn

WARMUP_STEPS = 150
FINAL_SHARE = 0.03  # of the learning rate, at the end
MAX_GRADIENT_NORM = 1.0


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Linear warm-up, then a half cosine down to `FINAL_SHARE` of the peak."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    progress = min(1.0, step / num_steps)
    return peak * warm * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))


class MasterWeights:
    """AdamW over float32 copies of a module that computes in bfloat16.

    Cheaper than autocast, which casts all weights and activations anew in every step: products in bfloat16
    are several times faster on GPUs and on CPUs with AVX512-BF16.

    Parameters
    ----------
    module
        Its trainable parameters are optimised; all are turned to bfloat16 in place, buffers are not.
    """

    def __init__(self, module: nn.Module) -> None:
        trainable = [p for p in module.parameters() if p.requires_grad]
        self.masters = [p.detach().float().clone() for p in trainable]
        for parameter in module.parameters():  # not buffers: rotary frequencies must stay exact
            parameter.data = parameter.data.bfloat16()
        self.weights = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.masters, weight_decay=0.01, betas=(0.9, 0.98))

    def step(self, loss: torch.Tensor, rate: float) -> None:
        """Differentiate `loss` and move the weights."""
        for weight in self.weights:
            weight.grad = None
        loss.backward()
        for master, weight in zip(self.masters, self.weights, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
        nn.utils.clip_grad_norm_(self.masters, MAX_GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self._publish()

    def _publish(self) -> None:
        with torch.no_grad():
            for master, weight in zip(self.masters, self.weights, strict=True):
                weight.copy_(master)

    def state_dict(self) -> dict:
        """Masters and the optimizer's moments."""
        return {"masters": self.masters, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Continue where `state` was taken."""
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self._publish()
