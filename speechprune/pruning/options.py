"""The section ``pruning`` of a config: a method by name, and its settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from speechprune.pruning.base import PruningMethod
from speechprune.pruning.methods import METHODS
from speechprune.pruning.phase1 import Allocation
from speechprune.pruning.phase2 import Scale

MethodName = Literal[
    "speechprune",
    "first_phase",
    "second_phase",
    "late_interaction",
    "random",
    "random_crop",
    "truncate",
    "none",
]


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """Which tokens are kept: a method by name, and the settings that methods share.

    Parameters
    ----------
    method
        ``speechprune``, ``first_phase``, ``second_phase``, ``late_interaction``, ``random``,
        ``random_crop``, ``truncate`` or ``none``.
    pruning_rate
        Share of min(phase1_budget, tokens) that is dropped, 0 to below 1.
    phase1_budget
        Tokens that phase 1 leaves; 750 are 30 s of Qwen2-Audio.
    allocation
        ``fill`` gives the whole budget away, ``floor`` is the paper's Eq 7 as written.
    scale
        ``sign`` as in the paper, ``xnor`` times the mean absolute values.
    seed
        Of the random methods.
    """

    method: MethodName = "speechprune"
    pruning_rate: float = 0.2
    phase1_budget: int = 750
    allocation: Allocation = "fill"
    scale: Scale = "sign"
    seed: int = 0

    def __post_init__(self) -> None:
        METHODS["speechprune"](**self._settings_of("speechprune"))
        self.build()

    def build(self) -> PruningMethod:
        """The method, with those of the settings that it has."""
        return METHODS[self.method](**self._settings_of(self.method))

    def _settings_of(self, method: str) -> dict[str, Any]:
        names = {f.name for f in dataclasses.fields(METHODS[method])}
        return {name: value for name, value in vars(self).items() if name in names}
