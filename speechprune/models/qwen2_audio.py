"""Qwen2-Audio: a Whisper-large-v3 encoder, a linear projector, Qwen2 7B.

Everything that knows Hugging Face's internals of this family is in this file; the modules themselves run
unpatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedConfig

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ModelShape, WhisperEncoderShape
from speechprune.models.source import ModelSource
from speechprune.models.staging import staging_zeros
from speechprune.models.text_model import decoder_shape
from speechprune.models.whisper_family import WhisperFamily, num_positions, whisper_sizes

WINDOW_SECONDS = 30
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE


class Qwen2Audio(WhisperFamily):
    """Qwen2-Audio behind the contract of ``SpeechModel``.

    - ``model``: a loaded ``Qwen2AudioForConditionalGeneration`` in eval mode.
    - ``processor``: its ``Qwen2AudioProcessor``.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_audio",)

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from config.json."""
        encoder = WhisperEncoderShape(**whisper_sizes(config))
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository."""
        from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

        processor = AutoProcessor.from_pretrained(**source.location)
        model = source.load_weights(Qwen2AudioForConditionalGeneration)
        return cls(model, processor, **source.batches)

    @torch.inference_mode()
    def encode_features(self, features: torch.Tensor, num_samples: Sequence[int]) -> torch.Tensor:
        """Encode up to the states: two positions averaged, then normed, 25 tokens a second."""
        tower = self.model.model.audio_tower
        mask = encoder_mask(tower, [num_positions(number) for number in num_samples])
        states: torch.Tensor = tower(features, attention_mask=mask).last_hidden_state
        return states

    @property
    def last_layer(self) -> Any:
        """The projector, which is one linear layer."""
        return self.model.model.multi_modal_projector.linear


def encoder_mask(tower: Any, lengths: Sequence[int]) -> torch.Tensor | None:
    """Hide the positions behind the end of each window, as Hugging Face's own forward does.

    - ``tower``: the encoder.
    - ``lengths``: positions of each window; where all are full there is nothing to hide: None.
    """
    from transformers.masking_utils import create_bidirectional_mask

    if min(lengths) >= tower.config.max_source_positions:
        return None
    valid = staging_zeros((len(lengths), tower.config.max_source_positions), torch.bool, tower.device)
    for row, length in zip(valid.numpy(), lengths, strict=True):
        row[:length] = True
    return create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=torch.zeros(*valid.shape, 1, dtype=tower.dtype, device=tower.device),
        attention_mask=valid.to(tower.device, non_blocking=True),
        allow_is_bidirectional_skip=False,  # asking whether all are valid would wait for the device
    )
