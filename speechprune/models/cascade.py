"""A cascade: Whisper writes a recording down, and any language model reads the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch

from speechprune.cost import TranscriberShape
from speechprune.models.cascade_config import CascadeConfig, parse_cascade
from speechprune.models.hub import ModelError
from speechprune.models.source import ModelSource
from speechprune.models.speech_checks import Checks
from speechprune.models.text_cascade import TextCascade
from speechprune.models.whisper_family import whisper_sizes
from speechprune.models.whisper_text import Transcriber, Transcript


class Cascade(TextCascade):
    """Whisper and a language model behind the contract of ``SpeechModel``.

    - ``transcriber``: the loaded Whisper.
    """

    model_types: ClassVar[tuple[str, ...]] = ("cascade",)
    transcriber: Transcriber

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> CascadeConfig:
        """Parse config.json and those of both models."""
        return parse_cascade(values)

    @classmethod
    def encoder_shape(cls, config: CascadeConfig) -> TranscriberShape:
        """Read the sizes of Whisper, encoder and decoder."""
        whisper: Any = config.audio_config
        return TranscriberShape(
            **whisper_sizes(config),
            num_decoder_layers=whisper.decoder_layers,
            decoder_ffn_size=whisper.decoder_ffn_dim,
            vocab_size=whisper.vocab_size,
        )

    @classmethod
    def load_transcriber(cls, source: ModelSource, text_model: Any, tokenizer: Any) -> Transcriber:
        """Load Whisper."""
        config = cast(CascadeConfig, source.config)
        return load_transcriber(config.whisper.source_in(source), config.checks)

    def extra_flops(self, transcripts: Sequence[Transcript]) -> list[int]:
        """What the passes over each window took beyond those over steady speech."""
        shape = cast(TranscriberShape, self.shape.encoder)
        steady = shape.flops(1)
        return [
            sum(shape.pass_flops(n) + self.transcriber.alignment_flops(n) for n in transcript.pass_tokens)
            - steady
            for transcript in transcripts
        ]

    @property
    def layers(self) -> list[torch.nn.Module]:
        """Those of Whisper's encoder and of the language model."""
        return [*self.transcriber.model.get_encoder().layers, *super().layers]


def load_transcriber(source: ModelSource, checks: Checks) -> Transcriber:
    """Load Whisper with its tokenizer, its feature extractor and the ids in its generation config."""
    from transformers import (
        AutoFeatureExtractor,
        AutoTokenizer,
        GenerationConfig,
        WhisperForConditionalGeneration,
    )

    cache_only = source.location["local_files_only"]
    generation = GenerationConfig.from_pretrained(
        source.folder, revision=source.options.revision, local_files_only=cache_only
    )
    if not hasattr(generation, "no_timestamps_token_id") or not hasattr(generation, "is_multilingual"):
        raise ModelError(f"generation_config.json of {source.folder} has no ids of times: get it again")
    model = source.load_weights(WhisperForConditionalGeneration)
    generation.max_length = model.config.max_target_positions // 2  # half of the context is for text before
    model.generation_config = generation
    tokenizer = AutoTokenizer.from_pretrained(**source.location)
    extractor = AutoFeatureExtractor.from_pretrained(**source.location)
    return Transcriber(model, tokenizer, extractor, checks)
