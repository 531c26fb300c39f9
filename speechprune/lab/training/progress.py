"""A lesson's place: which step comes next, what is saved of it, and lines for whoever waits."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from loguru import logger
from torch import nn

from speechprune.lab.training.schedule import MasterWeights

SECONDS_BETWEEN_SAVES = 120.0
SECONDS_BETWEEN_LINES = 30.0
SMOOTHING = 0.97  # of the figures on the screen


class LessonProgress:
    """Counts steps, saves the state now and then, and restores it.

    Parameters
    ----------
    name
        Of the lesson, for the lines.
    file
        Where its state is kept.
    num_steps
        Until it is done.
    """

    def __init__(self, name: str, file: Path, num_steps: int) -> None:
        self.name, self.file, self.num_steps = name, file, num_steps
        self.step = 0
        self._figures: dict[str, float] = {}
        self._begun = self._saved = self._told = time.monotonic()
        self._first_step = 0
        self._seconds_before = 0.0

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.num_steps

    @property
    def seconds(self) -> float:
        """What its steps have taken, those of stopped runs included as far as they were saved."""
        return self._seconds_before + time.monotonic() - self._begun

    def restore(self, lesson: nn.Module, weights: MasterWeights) -> None:
        """Continue from the saved state, if there is one."""
        if self.file.exists():
            state = torch.load(self.file, map_location="cpu")
            lesson.load_state_dict(state["lesson"])
            weights.load_state_dict(state["weights"])
            self.step = self._first_step = state["step"]
            self._seconds_before = state["seconds"]
            self._begun = time.monotonic()
            logger.info("{}: continues at step {:,} of {:,}", self.name, self.step, self.num_steps)

    def advance(self, lesson: nn.Module, weights: MasterWeights, figures: dict[str, torch.Tensor]) -> None:
        """Count a step; save and tell if it is time to."""
        self.step += 1
        for key, value in figures.items():
            new = float(value.detach())
            self._figures[key] = SMOOTHING * self._figures.get(key, new) + (1 - SMOOTHING) * new
        now = time.monotonic()
        if self.done or now - self._saved > SECONDS_BETWEEN_SAVES:
            self._save(lesson, weights)
            self._saved = now
        if self.done or now - self._told > SECONDS_BETWEEN_LINES:
            left = (now - self._begun) / (self.step - self._first_step) * (self.num_steps - self.step)
            told = ", ".join(f"{key} {value:.3f}" for key, value in self._figures.items())
            logger.info(
                "{}: step {:,} of {:,}, {}, {:.0f} min left",
                self.name,
                self.step,
                self.num_steps,
                told,
                left / 60,
            )
            self._told = now

    def _save(self, lesson: nn.Module, weights: MasterWeights) -> None:
        half_written = self.file.with_suffix(".tmp")
        torch.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "lesson": lesson.state_dict(),
                "weights": weights.state_dict(),
            },
            half_written,
        )
        half_written.replace(self.file)
