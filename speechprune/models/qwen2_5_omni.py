"""Qwen2.5-Omni: its thinker, from sound to text; talker and vision encoder are left out.

A Whisper-large-v3 encoder with attention inside blocks of two seconds, a linear projector, Qwen2.5. The
modules themselves run unpatched.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES
from speechprune.cost import BlockwiseEncoderShape, ModelShape
from speechprune.models.base import EncodedWindows, SpeechModel, Window
from speechprune.models.hub import ModelError
from speechprune.models.log_mel import LogMel
from speechprune.models.qwen2_audio import WINDOW_SAMPLES, num_positions, token_times
from speechprune.models.source import ModelSource
from speechprune.models.text_model import composite_language_model, decoder_shape, load_tokenizer

# of its model card
SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory "
    "and visual inputs, as well as generating text and speech."
)


class Qwen25Omni(SpeechModel):
    """The thinker of Qwen2.5-Omni behind the contract of ``SpeechModel``.

    Its encoder takes any length; windows of 30 s are whole blocks of its attention.

    - ``model``: a loaded ``Qwen2_5OmniThinkerForConditionalGeneration`` in eval mode.
    - ``tokenizer``: its fast tokenizer, with the processor's chat template.
    - ``extractor``: its ``WhisperFeatureExtractor``.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_5_omni", "qwen2_5_omni_thinker")
    min_window_samples: ClassVar[int] = 2 * MEL_HOP_SAMPLES + 1  # the third mel frame starts
    full_window_samples: ClassVar[int] = WINDOW_SAMPLES - MEL_HOP_SAMPLES + 1  # the last mel frame starts

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        extractor: Any,
        *,
        name: str,
        encoder_batch_size: int,
        prefill_batch_tokens: int,
    ) -> None:
        self.model = model
        self.extractor = extractor
        self._encoder = _without_projector(model.model.audio_tower)
        self._log_mel = LogMel(extractor, self._encoder.device, WINDOW_SAMPLES)
        shape = self.shape_of(model.config)
        super().__init__(
            name=name,
            shape=shape,
            language_model=composite_language_model(model, tokenizer, shape.decoder),
            encoder_batch_size=encoder_batch_size,
            prefill_batch_tokens=prefill_batch_tokens,
        )

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
        text, audio = config.text_config, config.audio_config
        encoder = BlockwiseEncoderShape(
            hidden_size=audio.d_model,
            num_layers=audio.encoder_layers,
            ffn_size=audio.encoder_ffn_dim,
            num_mel_bins=audio.num_mel_bins,
            num_positions=num_positions(WINDOW_SAMPLES),
            projected_size=text.hidden_size,
            attention_block=audio.n_window,
        )
        return ModelShape(decoder=decoder_shape(text), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository, of a whole model or of a thinker."""
        from transformers import AutoFeatureExtractor, Qwen2_5OmniThinkerForConditionalGeneration

        tokenizer = load_tokenizer(source)
        extractor = AutoFeatureExtractor.from_pretrained(**source.location)
        model = source.load_weights(Qwen2_5OmniThinkerForConditionalGeneration)
        del model.model.visual  # no image comes: its memory is of use for prompts
        return cls(model, tokenizer, extractor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the chat template: the system prompt, the audio, then the user's words."""
        system = [{"type": "text", "text": SYSTEM_PROMPT}]
        user = [{"type": "audio", "audio": "recording"}, {"type": "text", "text": user_text}]
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "system", "content": system}, {"role": "user", "content": user}],
            add_generation_prompt=True,
            tokenize=False,
        )
        assert isinstance(rendered, str)
        return rendered

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of at most 30 s, 25 tokens a second: short ones at their own length."""
        num_mel_frames = [-(-len(window.samples) // MEL_HOP_SAMPLES) for window in windows]
        features = self._log_mel([window.samples for window in windows])
        own = [rows[:, :length] for rows, length in zip(features, num_mel_frames, strict=True)]
        lengths = torch.tensor(num_mel_frames, device=features.device)
        states = self._encoder(torch.cat(own, dim=1), feature_lens=lengths).last_hidden_state
        times = [token_times(window) for window in windows]
        parts = states.split([len(own_times) for own_times in times])
        return EncodedWindows(torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), times)

    @torch.inference_mode()
    def project(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the linear projector."""
        linear = self.model.model.audio_tower.proj
        embeds: torch.Tensor = linear(states.to(linear.weight.device, linear.weight.dtype))
        return embeds.to(self.device)

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P and b of the linear projector."""
        linear = self.model.model.audio_tower.proj
        return linear.weight, linear.bias


def _without_projector(tower: Any) -> Any:
    """Return an encoder of the same modules that ends at the states, the projector's input."""
    encoder = copy.copy(tower)
    encoder._modules = tower._modules | {"proj": torch.nn.Identity()}
    vars(encoder).pop("forward", None)  # a wrapper for sharded weights would run the tower
    return encoder
