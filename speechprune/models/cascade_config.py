"""config.json of a cascade: the two models that it is made of, and what is taken for no speech."""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import PreTrainedConfig

from speechprune.models.hub import ModelError
from speechprune.models.parts import Part, find_part, whole_of
from speechprune.models.speech_checks import Checks


class CascadeConfig(PreTrainedConfig):
    """A parsed config.json.

    ::

        {
          "model_type": "cascade",
          "whisper": "whisper",
          "llm": {"repository": "team/name", "revision": "<commit, 40 digits>"},
          "checks": {"no_speech_threshold": 0.6}
        }

    ``whisper`` and ``llm`` are each a folder beside config.json, in Hugging Face's format, or a
    repository of the hub at a commit. ``checks`` may be left out, see ``Checks``.
    """

    model_type = "cascade"

    def __init__(self, whisper: Part, llm: Part, checks: Checks, **kwargs: Any) -> None:
        self.whisper = whisper
        self.llm = llm
        self.checks = checks
        super().__init__(**kwargs)


def parse_cascade(values: dict[str, Any]) -> CascadeConfig:
    """Parse the content of config.json, and read those of the two models.

    Raises
    ------
    ModelError
        In one line: of config.json, or of a model that it names.
    """
    whole = whole_of(values)
    checks = values.get("checks", {})
    known = {field.name for field in dataclasses.fields(Checks)}
    if not isinstance(checks, dict) or not set(checks) <= known:
        raise ModelError(f"checks in config.json of {whole} are {checks!r}: give numbers for {sorted(known)}")
    if odd := [name for name, value in checks.items() if not isinstance(value, int | float)]:
        raise ModelError(f"{odd[0]} in config.json of {whole} is {checks[odd[0]]!r}: give a number")
    whisper, llm = (find_part(name, values) for name in ("whisper", "llm"))
    if whisper.config.model_type != "whisper":
        raise ModelError(f"whisper in config.json of {whole} is a {whisper.config.model_type}, no Whisper")
    return CascadeConfig(whisper, llm, Checks(**checks))
