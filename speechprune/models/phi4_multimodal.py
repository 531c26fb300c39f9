"""Phi-4-multimodal: a conformer, a projector of two layers, Phi-4-mini with its adapter for speech merged.

The vision encoder is left out. The modules themselves run unpatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ModelShape, SubsampledConformerShape
from speechprune.models.base import EncodedWindows, LanguageModel, SpeechModel, Window
from speechprune.models.hub import ModelError
from speechprune.models.log_mel import MAX_INT16
from speechprune.models.lora import ADAPTER_CONFIG, merge_adapter
from speechprune.models.source import ModelSource, end_token_ids
from speechprune.models.text_model import decoder_shape, load_tokenizer, rope_switch
from speechprune.pruning import FirstLayerProjections
from speechprune.pruning.transfers import upload

WINDOW_SAMPLES = 40 * SAMPLE_RATE  # 500 positions, beyond which the encoder itself cuts a recording
FRAME_SAMPLES, HOP_SAMPLES = 400, 160  # of a mel frame
TOKEN_FRAMES = 8
REMOTE_TYPE = "phi4mm"  # the same model for code in its repository
SPEECH_ADAPTER = "speech-lora"  # the folder of the adapter


class Phi4Multimodal(SpeechModel):
    """Phi-4-multimodal behind the contract of ``SpeechModel``: 12.5 tokens a second.

    - ``model``: loaded, in eval mode, with its adapter merged.
    - ``processor``: its tokenizer and feature extractor.
    """

    model_types: ClassVar[tuple[str, ...]] = ("phi4_multimodal", REMOTE_TYPE)
    # the encoder's mask is added to a bias as a number and hides nothing
    short_windows_share_batches: ClassVar[bool] = False
    min_window_samples: ClassVar[int] = FRAME_SAMPLES
    full_window_samples: ClassVar[int] = WINDOW_SAMPLES

    def __init__(self, model: Any, processor: Any, *, name: str, **batches: Any) -> None:
        self.model = model
        self.processor = processor
        self._check_features(name)
        shape, decoder = self.shape_of(model.config), model.model
        audio_token_id = model.config.audio_config.audio_token_id
        self._audio_token = processor.tokenizer.convert_ids_to_tokens(audio_token_id)
        language_model = LanguageModel(
            tokenizer=processor.tokenizer,
            decoder=decoder,
            head=model.lm_head,
            embedding=model.get_input_embeddings(),
            projections=_packed_projections(decoder.layers[0].self_attn.qkv_proj.weight, shape),
            audio_token_id=audio_token_id,
            end_token_ids=end_token_ids(model.generation_config, processor.tokenizer),
            max_prompt_tokens=model.config.max_position_embeddings,
            rope_switch=rope_switch(model.config),
        )
        super().__init__(name=name, shape=shape, language_model=language_model, **batches)

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> PreTrainedConfig:
        """Parse config.json.

        Raises
        ------
        ModelError
            It is of the revision that needs code of the repository.
        """
        if values["model_type"] == REMOTE_TYPE:
            raise ModelError(
                f"model {values['_name_or_path']} is a {REMOTE_TYPE}, which needs code of its repository, "
                "and that is never run: give microsoft/Phi-4-multimodal-instruct with "
                "model.revision=refs/pr/70, where it is a phi4_multimodal"
            )
        config = super().parse_config(values)
        # it hides nothing, but steps with its cache could not be replayed from a CUDA graph
        if (config.sliding_window or 0) >= config.max_position_embeddings:
            config.sliding_window = None
        return config

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from config.json."""
        audio = config.audio_config
        encoder = SubsampledConformerShape(
            hidden_size=audio.hidden_size,
            num_layers=audio.num_blocks,
            ffn_size=audio.intermediate_size,
            num_mel_bins=audio.input_size,
            num_channels=audio.nemo_conv_channels,
            kernel=audio.kernel_size,
            projected_size=config.hidden_size,
            num_mel_frames=num_mel_frames(WINDOW_SAMPLES),
        )
        return ModelShape(decoder=decoder_shape(config), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository, with its adapter for speech merged into the weights.

        Raises
        ------
        ModelError
            The adapter is missing.
        """
        from transformers import Phi4MultimodalFeatureExtractor, Phi4MultimodalForCausalLM

        has_adapter = getattr(source.config, "has_lora_adapter", True) and not source.options.random_weights
        if has_adapter and source.stored_file(ADAPTER_CONFIG, subfolder=SPEECH_ADAPTER, needed=False) is None:
            raise ModelError(
                f"model {source.options.path} has no {SPEECH_ADAPTER}/{ADAPTER_CONFIG}, the adapter without "
                "which it does not understand speech: get it again, or, where the adapter is merged into the "
                "weights, set has_lora_adapter to false in config.json"
            )
        extractor = Phi4MultimodalFeatureExtractor.from_pretrained(**source.location)
        # in place of its own processor, which wants packages for images
        processor = SimpleNamespace(tokenizer=load_tokenizer(source), feature_extractor=extractor)
        model = source.load_weights(Phi4MultimodalForCausalLM)
        if has_adapter:
            merge_adapter(source, model, SPEECH_ADAPTER)
        del model.model.embed_tokens_extend.image_embed  # no image comes
        return cls(model, processor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the chat template: the audio, then the user's words."""
        parts = [{"type": "audio", "audio": "recording"}, {"type": "text", "text": user_text}]
        try:
            return self._render(parts)
        except TypeError:  # a template for texts alone, as the repository's first one is
            return self._render(self._audio_token + user_text)

    def _render(self, content: Any) -> str:
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of one length up to the states: behind the GELU."""
        audio = self._audio_embed
        features = self.features([window.samples for window in windows])
        positions = audio.encoder(features.to(audio.encoder.dtype), None)
        states = torch.nn.functional.gelu(audio.up_proj_for_speech(positions))
        return EncodedWindows(states, [token_times(window) for window in windows])

    def features(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """Compute features of int16 windows of one length where the encoder is, ``(windows, frames, bins)``.

        By a part of the family's own extractor, which as a whole computes on the host.
        """
        device = self._audio_embed.encoder.device
        samples = upload(np.stack(windows), device).float() / MAX_INT16
        lengths = torch.full((len(windows),), samples.shape[1])
        features: torch.Tensor = self.processor.feature_extractor._torch_extract_fbank_features(
            samples, lengths, device
        )
        return features

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P and b of the projector's second layer."""
        layer = self._audio_embed.down_proj_for_speech
        return layer.weight, layer.bias

    @property
    def _audio_embed(self) -> Any:
        return self.model.model.embed_tokens_extend.audio_embed

    def _check_features(self, name: str) -> None:
        """Refuse a feature extractor of another model."""
        extractor, audio = self.processor.feature_extractor, self.model.config.audio_config
        given = (extractor.feature_size, extractor.win_length, extractor.hop_length)
        taken = (audio.input_size, FRAME_SAMPLES, HOP_SAMPLES)
        if given != taken or (audio.time_reduction, audio.downsample_rate) != (TOKEN_FRAMES, 1):
            raise ModelError(
                f"model {name} gives {given[0]} mel bins of {given[1]} samples every {given[2]}, "
                f"{audio.time_reduction * audio.downsample_rate} to a token; a Phi-4-multimodal takes "
                f"{taken[0]}, {taken[1]}, {taken[2]} and {TOKEN_FRAMES}: get its configurations again"
            )


def _packed_projections(weight: torch.Tensor, shape: ModelShape) -> FirstLayerProjections:
    """W_Q and W_K, which lie before W_V in one matrix."""
    decoder = shape.decoder
    sizes = [decoder.queries_size, decoder.keys_size, decoder.keys_size]
    queries, keys, _ = weight.split(sizes)
    return FirstLayerProjections(queries, keys, decoder.num_attention_heads, decoder.num_key_value_heads)


def num_mel_frames(num_samples: int) -> int:
    """Count the mel frames of a window that are sound alone."""
    return (num_samples - FRAME_SAMPLES) // HOP_SAMPLES + 1


def token_times(window: Window) -> np.ndarray:
    """Start and end of a window's tokens in seconds of the recording, ``(tokens, 2)``."""
    num_tokens = -(-num_mel_frames(len(window.samples)) // TOKEN_FRAMES)
    seconds = TOKEN_FRAMES * HOP_SAMPLES / SAMPLE_RATE
    starts = np.arange(num_tokens) * seconds
    ends = np.minimum(starts + seconds, len(window.samples) / SAMPLE_RATE)
    return window.start_seconds + np.stack([starts, ends], axis=1)
