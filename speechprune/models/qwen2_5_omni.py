"""Qwen2.5-Omni: its thinker, from sound to text; talker and vision encoder are left out.

A Whisper-large-v3 encoder with attention inside blocks of two seconds, a linear projector, Qwen2.5. The
modules themselves run unpatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE
from speechprune.cost import BlockwiseEncoderShape, ModelShape
from speechprune.models.hub import ModelError
from speechprune.models.source import ModelSource
from speechprune.models.text_model import decoder_shape, load_tokenizer
from speechprune.models.whisper_family import (
    WhisperFamily,
    num_audio_tokens,
    num_mel_frames,
    num_positions,
    whisper_sizes,
)
from speechprune.models.without_layer import without_layer

WINDOW_SAMPLES = 30 * SAMPLE_RATE
# of its model card
SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory "
    "and visual inputs, as well as generating text and speech."
)


class Qwen25Omni(WhisperFamily):
    """The thinker of Qwen2.5-Omni behind the contract of ``SpeechModel``.

    Its encoder takes any length; windows of 30 s are whole blocks of its attention.

    - ``thinker_class``: the name of its class in transformers.
    - ``last_layer_name``: of the projector's last linear layer in the encoder's modules.
    - ``system_prompt``: None where the model is asked without one.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_5_omni", "qwen2_5_omni_thinker")
    thinker_class: ClassVar[str] = "Qwen2_5OmniThinkerForConditionalGeneration"
    last_layer_name: ClassVar[str] = "proj"
    system_prompt: ClassVar[str | None] = SYSTEM_PROMPT
    full_window_samples: ClassVar[int] = WINDOW_SAMPLES - MEL_HOP_SAMPLES + 1  # the last mel frame starts

    def __init__(self, model: Any, processor: Any, **batches: Any) -> None:
        super().__init__(model, processor, **batches)
        self._encoder = without_layer(model.model.audio_tower, self.last_layer_name)

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> PreTrainedConfig:
        """Parse config.json of a whole model or of a thinker; returns the thinker's."""
        thinker, path = values.get("thinker_config", values), values["_name_or_path"]
        if not isinstance(thinker, dict):
            raise ModelError(f"thinker_config in config.json of model {path} is {thinker!r}: get it again")
        return super().parse_config(thinker | {"model_type": cls.model_types[1], "_name_or_path": path})

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from the thinker's config."""
        sizes = whisper_sizes(config) | {"num_positions": num_positions(WINDOW_SAMPLES)}
        encoder = BlockwiseEncoderShape(**sizes, attention_block=config.audio_config.n_window)
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository, of a whole model or of a thinker."""
        import transformers

        seconds = cls.shape_of(source.config).encoder.window_seconds
        extractor = transformers.AutoFeatureExtractor.from_pretrained(**source.location, chunk_length=seconds)
        # in place of its own processor, which wants packages for images
        processor = SimpleNamespace(tokenizer=load_tokenizer(source), feature_extractor=extractor)
        model = source.load_weights(getattr(transformers, cls.thinker_class))
        del model.model.visual  # no image comes: its memory is of use for prompts
        return cls(model, processor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the chat template: the system prompt, the audio, then the user's words."""
        user = [{"type": "audio", "audio": "recording"}, {"type": "text", "text": user_text}]
        conversation = [{"role": "user", "content": user}]
        if self.system_prompt is not None:
            system = [{"type": "text", "text": self.system_prompt}]
            conversation.insert(0, {"role": "system", "content": system})
        rendered = self.tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    @torch.inference_mode()
    def encode_features(self, features: torch.Tensor, num_samples: Sequence[int]) -> torch.Tensor:
        """Encode up to the states: windows at their own lengths, one behind the other."""
        own = [rows[:, : num_mel_frames(number)] for rows, number in zip(features, num_samples, strict=True)]
        lengths = torch.tensor([rows.shape[1] for rows in own], device=features.device)
        states = self._encoder(torch.cat(own, dim=1), feature_lens=lengths).last_hidden_state
        parts = states.split([self.num_tokens(number) for number in num_samples])
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)

    @staticmethod
    def num_tokens(num_samples: int) -> int:
        """Count the audio tokens of a window."""
        return num_audio_tokens(num_samples)

    @property
    def num_encoder_frames(self) -> int:
        """Those of a window: the encoder takes any number."""
        return num_mel_frames(self.full_window_samples)

    @property
    def last_layer(self) -> Any:
        """The projector, or its last layer."""
        return getattr(self.model.model.audio_tower, self.last_layer_name)

    def graph_encoder(self) -> bool:
        """No graph can be made of an encoder that reads lengths on the host."""
        return False

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The decoder's; of the encoder, each length of a batch would be compiled by itself."""
        return list(self.language_model.decoder.layers)
