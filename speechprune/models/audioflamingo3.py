"""Audio Flamingo 3: a Whisper-large-v3 encoder tuned to all sounds, an MLP, Qwen2.5 7B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedConfig

from speechprune.cost import ModelShape, WhisperMlpShape
from speechprune.models.source import ModelSource
from speechprune.models.staging import staging_zeros
from speechprune.models.text_model import decoder_shape
from speechprune.models.whisper_family import WhisperFamily, num_mel_frames, whisper_sizes


class AudioFlamingo3(WhisperFamily):
    """Audio Flamingo 3 behind the contract of ``SpeechModel``: 25 tokens a second.

    Its own processor makes a log-mel per window, as is done here, but drops what is behind ten minutes.
    """

    model_types: ClassVar[tuple[str, ...]] = ("audioflamingo3",)

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from config.json."""
        encoder = WhisperMlpShape(
            **whisper_sizes(config),
            positions_per_token=2,
            projector_input_size=config.audio_config.hidden_size,
        )
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository."""
        from transformers import AudioFlamingo3ForConditionalGeneration, AutoProcessor

        processor = AutoProcessor.from_pretrained(**source.location)
        model = source.load_weights(AudioFlamingo3ForConditionalGeneration)
        return cls(model, processor, **source.batches)

    @torch.inference_mode()
    def encode_features(self, features: torch.Tensor, num_samples: Sequence[int]) -> torch.Tensor:
        """Encode up to the states: behind the MLP's activation.

        On a GPU the encoder's own forward reads the mask, and so waits for the device once a batch.
        """
        sound = staging_zeros((len(features), features.shape[-1]), torch.bool, features.device)
        for row, number in zip(sound.numpy(), num_samples, strict=True):
            row[: num_mel_frames(number)] = True
        mask = sound.to(features.device, non_blocking=True)
        tower, projector = self.model.model.audio_tower, self.model.model.multi_modal_projector
        positions = tower(features, input_features_mask=mask).last_hidden_state
        states: torch.Tensor = projector.act(projector.linear_1(positions))
        return states

    @property
    def last_layer(self) -> Any:
        """The second layer of the MLP."""
        return self.model.model.multi_modal_projector.linear_2

    def graph_encoder(self) -> bool:
        """Not from a CUDA graph: the encoder's own forward waits for the device."""
        return False
