"""config.json of a cascade: the two models that it is made of, and how the first one writes down speech."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from speechprune.models.hub import ModelError
from speechprune.models.parts import Part, find_part, whole_of
from speechprune.models.speech_checks import Checks


class TextCascadeConfig(PreTrainedConfig):
    """What every cascade's config.json names: a Whisper, and a language model."""

    def __init__(self, whisper: Part, llm: Part, **kwargs: Any) -> None:
        self.whisper, self.audio_config = whisper, whisper.config
        self.llm, self.text_config = llm, llm.config
        super().__init__(**kwargs)


class CascadeConfig(TextCascadeConfig):
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
        self.checks = checks
        super().__init__(whisper, llm, **kwargs)


@dataclass(frozen=True)
class ConnectorSizes:
    """Sizes of a connector between a Whisper encoder and a language model's tokens."""

    hidden_size: int
    num_tokens: int  # that it knows


class CtcCascadeConfig(TextCascadeConfig):
    """A parsed config.json.

    ::

        {
          "model_type": "ctc_cascade",
          "whisper": "whisper",
          "llm": "llm",
          "connector": {"hidden_size": 1024, "num_tokens": 11364}
        }

    ``whisper`` and ``llm`` as in ``CascadeConfig``: the two models that ``connector.safetensors``, beside
    config.json, was trained between.
    """

    model_type = "ctc_cascade"

    def __init__(self, whisper: Part, llm: Part, connector: ConnectorSizes, **kwargs: Any) -> None:
        self.connector = connector
        super().__init__(whisper, llm, **kwargs)


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
    return CascadeConfig(*_two_models(values), Checks(**checks))


def parse_ctc_cascade(values: dict[str, Any]) -> CtcCascadeConfig:
    """Parse the content of config.json, and read those of the two models.

    Raises
    ------
    ModelError
        In one line: of config.json, or of a model that it names.
    """
    sizes = values.get("connector")
    known = {field.name for field in dataclasses.fields(ConnectorSizes)}
    if not isinstance(sizes, dict) or set(sizes) != known or not all(type(n) is int for n in sizes.values()):
        raise ModelError(
            f"connector in config.json of {whole_of(values)} is {sizes!r}: give numbers for {sorted(known)}"
        )
    return CtcCascadeConfig(*_two_models(values), ConnectorSizes(**sizes))


def _two_models(values: dict[str, Any]) -> tuple[Part, Part]:
    whisper, llm = (find_part(name, values) for name in ("whisper", "llm"))
    if (found := whisper.config.model_type) != "whisper":
        raise ModelError(f"whisper in config.json of {whole_of(values)} is a {found}, no Whisper")
    return whisper, llm
