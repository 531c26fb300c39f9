"""A pruning method with its settings, and the query text that it compares the audio with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechprune.inference.prompts import QueryText
from speechprune.pruning import PruningMethod

DEFAULT_QUERY_TEXT: QueryText = "question_and_choices"
ALWAYS_NAMED = "pruning_rate"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One way of pruning, for all items."""

    method: PruningMethod  # with its settings
    query_text: QueryText = DEFAULT_QUERY_TEXT  # what it compares the audio with, see ``AnsweringOptions``

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, ``method`` first."""
        return {
            "method": self.method.name,
            **dataclasses.asdict(self.method),
            **({"query_text": self.query_text} if self.method.features else {}),
        }

    @property
    def name(self) -> str:
        """Method, pruning rate, what is not at its default: ``random(pruning_rate=0.2, seed=1)``."""
        return self._name_without(())

    @property
    def group_name(self) -> str:
        """The name without the seed: points of one group are reported as one."""
        return self._name_without(("seed",))

    @property
    def seed(self) -> int | None:
        """The seed of a random method; None for others."""
        return getattr(self.method, "seed", None)

    def _name_without(self, hidden: Sequence[str]) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(self.method)}
        defaults |= {"query_text": DEFAULT_QUERY_TEXT, "method": self.method.name}
        shown = [
            f"{name}={str(value).removesuffix('.0')}"
            for name, value in sorted(self.settings.items())
            if name not in hidden and (name == ALWAYS_NAMED or value != defaults[name])
        ]
        return f"{self.method.name}({', '.join(shown)})" if shown else self.method.name
