"""config.json of DiVA, which names the two models that it is made of."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from speechprune.models.hub import ModelError
from speechprune.models.parts import Part, find_part, whole_of

# what the published config.json names without a commit
PINNED = {
    "openai/whisper-large-v3": "06f233fe06e710322aca913c1bc4249a0d71fce1",
    "meta-llama/Meta-Llama-3-8B-Instruct": "5f0b02c75b57c5855da9ae460ce51323ea669d8a",
}
KINDS = {"reference_encoder": "whisper", "reference_decoder": "llama"}


class DivaConfig(PreTrainedConfig):
    """A parsed config.json.

    ``reference_encoder``, a Whisper, and ``reference_decoder``, a Llama that was tuned to chat, are each a
    repository in ``PINNED``, a folder beside config.json, or a repository of the hub at a commit, as
    ``{"repository": "team/name", "revision": "<commit, 40 digits>"}``.
    """

    model_type = "diva"

    def __init__(self, reference_encoder: Part, reference_decoder: Part, **kwargs: Any) -> None:
        self.reference_encoder = reference_encoder
        self.reference_decoder = reference_decoder
        super().__init__(**kwargs)

    @property
    def whisper(self) -> Any:
        """The Whisper's own config."""
        return self.reference_encoder.config

    @property
    def llama(self) -> Any:
        """The Llama's own config."""
        return self.reference_decoder.config


def parse_diva(values: dict[str, Any]) -> DivaConfig:
    """Parse the content of config.json, and read those of the two models.

    Raises
    ------
    ModelError
        In one line: of config.json, or of a model that it names.
    """
    pinned = {name: _with_commit(values.get(name)) for name in KINDS}
    parts = {name: find_part(name, values | pinned) for name in KINDS}
    for name, kind in KINDS.items():
        if (found := parts[name].config.model_type) != kind:
            raise ModelError(f"{name} in config.json of {whole_of(values)} is a {found}: give a {kind}")
    return DivaConfig(**parts)


def _with_commit(entry: Any) -> Any:
    if not isinstance(entry, str) or entry not in PINNED:
        return entry
    return {"repository": entry, "revision": PINNED[entry]}
