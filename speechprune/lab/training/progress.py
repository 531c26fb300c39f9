"""Progress of a training stage: its next step, its saved state, and log lines."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from loguru import logger
from torch import nn

from speechprune.lab.training.schedule import MasterWeights

SECONDS_BETWEEN_SAVES = 120.0
SECONDS_BETWEEN_LINES = 30.0
SMOOTHING = 0.97  # of the logged figures


class StageProgress:
    """Counts the steps of a stage, saves its state at intervals, and restores it.

    Parameters
    ----------
    name
        Name of the stage in log lines.
    file
        File of its state.
    num_steps
        Steps of the whole stage.
    """

    def __init__(self, name: str, file: Path, num_steps: int) -> None:
        self.name, self.file, self.num_steps = name, file, num_steps
        self.step = 0
        self._figures: dict[str, float] = {}
        self._start_time = self._saved = self._last_line_time = time.monotonic()
        self._first_step = 0
        self._seconds_before = 0.0

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.num_steps

    @property
    def seconds(self) -> float:
        """Time of its steps, including those that stopped runs saved."""
        return self._seconds_before + time.monotonic() - self._start_time

    def restore(self, objective: nn.Module, weights: MasterWeights) -> None:
        """Continue from the saved state, if there is one."""
        if self.file.exists():
            state = torch.load(self.file, map_location="cpu")
            objective.load_state_dict(state["lesson"])
            weights.load_state_dict(state["weights"])
            self.step = self._first_step = state["step"]
            self._seconds_before = state["seconds"]
            self._start_time = time.monotonic()
            logger.info("{}: continues at step {:,} of {:,}", self.name, self.step, self.num_steps)

    def advance(self, objective: nn.Module, weights: MasterWeights, figures: dict[str, torch.Tensor]) -> None:
        """Count a step; save the state and log a line when they are due."""
        self.step += 1
        for key, value in figures.items():
            new = float(value.detach())
            self._figures[key] = SMOOTHING * self._figures.get(key, new) + (1 - SMOOTHING) * new
        now = time.monotonic()
        if self.done or now - self._saved > SECONDS_BETWEEN_SAVES:
            self._save(objective, weights)
            self._saved = now
        if self.done or now - self._last_line_time > SECONDS_BETWEEN_LINES:
            left = (now - self._start_time) / (self.step - self._first_step) * (self.num_steps - self.step)
            shown = ", ".join(f"{key} {value:.3f}" for key, value in self._figures.items())
            logger.info(
                "{}: step {:,} of {:,}, {}, {:.0f} min left",
                self.name,
                self.step,
                self.num_steps,
                shown,
                left / 60,
            )
            self._last_line_time = now

    def _save(self, objective: nn.Module, weights: MasterWeights) -> None:
        half_written = self.file.with_suffix(".tmp")
        torch.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "lesson": objective.state_dict(),
                "weights": weights.state_dict(),
            },
            half_written,
        )
        half_written.replace(self.file)
