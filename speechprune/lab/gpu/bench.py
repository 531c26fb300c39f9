"""What the parts of the benchmark share: the model, its sizes, and what earlier parts measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from speechprune.inference.speech_lm import SpeechLM
from speechprune.lab.gpu.recordings import Recordings
from speechprune.lab.gpu.sizes import Case, Sizes, make_model_folder
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.models.options import DType

Row = dict[str, Any]
Rows = Iterator[Row]


@dataclass
class Bench:
    """The model under test, and the limits of the card as measured in the same run.

    - ``matrix_rates``: FLOPs a second of the products of ``decoder`` and ``encoder``, by these names.
    - ``bandwidth``: bytes a second, read and written, of a copy on the card.
    - ``loops``: what the Hugging Face loop took, by case.
    """

    sizes: Sizes
    folder: Path
    device: torch.device
    lm: SpeechLM
    matrix_rates: dict[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0
    loops: dict[Case, Row] = field(default_factory=dict)
    _recordings: dict[Case, Recordings] = field(default_factory=dict)

    def recordings(self, case: Case) -> Recordings:
        """The recordings of a case, made once."""
        if case not in self._recordings:
            self._recordings[case] = Recordings(case)
        return self._recordings[case]

    @property
    def hugging_face(self) -> tuple[Any, Any]:
        """The model as Hugging Face knows it, and its processor."""
        model = as_qwen2_audio(self.lm)
        return model.model, model.processor

    def share(self, part: str, flops: float, seconds: float) -> float:
        """Share of the matrix rate that ``limits`` measured for ``decoder`` or ``encoder``."""
        return flops / seconds / self.matrix_rates[part]

    def prompts(self, num_tokens: int, number: int) -> list[SplicedPrompt]:
        """Prompts of random embeddings."""
        return make_prompts(self.lm.model, num_tokens, number)


def make_prompts(model: SpeechModel, num_tokens: int, number: int) -> list[SplicedPrompt]:
    """Prompts of random embeddings."""
    token, width = model.language_model.audio_token_id, model.shape.decoder.hidden_size
    return [
        SplicedPrompt(
            0.02 * torch.randn(num_tokens, width, device=model.device, dtype=model.dtype),
            [token] * num_tokens,
        )
        for _ in range(number)
    ]


def load(sizes: Sizes, folder: Path, device: str, dtype: DType, num_layers: int | None = None) -> SpeechLM:
    """Make the model with random weights on the device."""
    if not folder.exists():
        make_model_folder(sizes, folder, num_layers)
    return SpeechLM.from_pretrained(str(folder), random_weights=True, device=device, dtype=dtype)


def ask(number: int) -> list[tuple[str, tuple[str, ...]]]:
    """Different questions of one length, with four choices each."""
    choices = ("Monday, Laura", "Tuesday, Henry", "Thursday, Ann", "Friday, Peter")
    question = "When is review number {} of the plan, and who will lead it?"
    return [(question.format(i + 10), choices) for i in range(number)]
