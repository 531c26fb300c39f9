"""What a search reads before it starts: index, questions, transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from speechprune.config import ConfigError
from speechprune.data.index_files import Contents, Part, WindowsDirectory, stored_parts
from speechprune.data.index_models import open_index
from speechprune.data.manifest import make_manifest, read_manifest
from speechprune.data.sources import InputOptions
from speechprune.inference.prompts import MAX_CHOICES
from speechprune.pipeline.settings import answer_settings
from speechprune.search.config import SearchConfig
from speechprune.search.recall import read_transcripts


@dataclass(frozen=True)
class Inputs:
    """What a search reads before it starts; each part raises what keeps the search from starting."""

    config: SearchConfig
    asked: tuple[str, list[str] | None] | None  # a question and its choices; None for ``search.questions``
    audio_folder: str  # for recordings that are embedded in ``search.questions``

    @cached_property
    def directory(self) -> WindowsDirectory:
        """The index."""
        return open_index(self.config.search.index, self.config.model, self.config.encoding)

    @cached_property
    def contents(self) -> Contents:
        """What the index holds."""
        return self.directory.contents()

    @cached_property
    def stored(self) -> dict[str, list[Part]]:
        """Where the windows of every whole recording are."""
        stored = dict(sorted(stored_parts(self.contents).items()))
        if not stored:
            index = self.config.search.index
            raise ConfigError(f"search.index {index} holds no whole recording yet: index the archive")
        return stored

    @cached_property
    def questions(self) -> pa.Table:
        """Items of a manifest; ``audio`` is the recording that should be found, or empty."""
        search = self.config.search
        if self.asked is not None:
            question, choices = self.asked
            if choices is not None and not 2 <= len(choices) <= MAX_CHOICES:
                raise ConfigError(
                    f"{len(choices)} choice: give 2 to {MAX_CHOICES} behind the question, or none"
                )
            return make_manifest([{"item_id": question, "question": question, "choices": choices}]).items
        if search.questions is None:
            raise ConfigError("give a question in quotes, or a file of them as search.questions=...")
        options = InputOptions(manifest=search.questions, limit=search.limit)
        manifest = read_manifest(options, self.audio_folder, needs_audio=False)
        for item_id, trouble in manifest.malformed.items():
            raise ConfigError(f"{search.questions}: {item_id}: {trouble}")
        return manifest.items

    @cached_property
    def transcripts(self) -> dict[str, str]:
        """Transcripts to compare with; none where none are given."""
        uri = self.config.search.transcripts
        return {} if uri is None else read_transcripts(uri, list(self.stored))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that can change an answer."""
        return answer_settings(self.config, self.directory.states())
