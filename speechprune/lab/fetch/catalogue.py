"""The models that can be fetched, as models.yaml lists them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter


class FetchError(ValueError):
    """A model that can't be fetched; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Package:
    """A wheel of a package index."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, kw_only=True)
class FetchedModel:
    """A model, what it is made of, and the SHA-256 of every file that is made.

    ``members`` are the files in the wheels that hold each piece, in the order in which they are joined; of
    the kind ``files`` the pieces are the model's files. ``parts`` are the models of a cascade, by the name of
    their folder in it; what else a ``ctc_cascade`` is made of lies in this package.
    """

    kind: Literal["whisper", "gguf", "cascade", "ctc_cascade", "files"]
    about: str
    licence: str
    megabytes: int
    files: dict[str, str]
    packages: tuple[Package, ...] = ()
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


Catalogue = dict[str, FetchedModel]


def read_catalogue() -> Catalogue:
    """Read models.yaml."""
    content = Path(__file__).with_name("models.yaml").read_text(encoding="utf-8")
    return TypeAdapter(Catalogue).validate_python(yaml.safe_load(content))
