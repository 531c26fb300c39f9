"""What families with a Whisper-type encoder share: windows of 30 s, encoded in batches of one shape."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES
from speechprune.models.base import EncodedWindows, LanguageModel, SpeechModel, Window
from speechprune.models.cuda_graphs import GraphedCall
from speechprune.models.hub import ModelError
from speechprune.models.log_mel import LogMel
from speechprune.models.source import end_token_ids
from speechprune.models.staging import staging_zeros
from speechprune.models.text_model import first_layer_projections


def num_mel_frames(num_samples: int) -> int:
    """Count the mel frames of 10 ms in which a window has sound."""
    return -(-num_samples // MEL_HOP_SAMPLES)


def num_positions(num_samples: int) -> int:
    """Count the encoder's positions of a window: mel frames halved by a convolution."""
    return (num_mel_frames(num_samples) - 1) // 2 + 1


def num_audio_tokens(num_samples: int) -> int:
    """Count the audio tokens of a window: positions halved by pooling."""
    return max(0, (num_positions(num_samples) - 2) // 2 + 1)


class WhisperFamily(SpeechModel):
    """A Hugging Face model of a Whisper-type encoder, a projector and a language model.

    A family gives the states that it makes of log-mel features, and the linear layer that they are the input
    of. By default two positions are a token, and the end of a short window is masked and dropped.

    - ``model``: loaded, in eval mode.
    - ``processor``: its tokenizer, feature extractor and chat template.
    """

    min_window_samples: ClassVar[int] = 2 * MEL_HOP_SAMPLES + 1  # the third mel frame starts
    full_window_samples: ClassVar[int] = 2998 * MEL_HOP_SAMPLES + 1  # 2,999 mel frames: 1,500 positions

    def __init__(
        self, model: Any, processor: Any, *, name: str, encoder_batch_size: int, prefill_batch_tokens: int
    ) -> None:
        self.model = model
        self.processor = processor
        self._encode_full_batch: Callable[[torch.Tensor], torch.Tensor] = self._encode_unmasked
        self._log_mel = LogMel(processor.feature_extractor, model.model.audio_tower.device)
        self._check_features(name)
        shape = self.shape_of(model.config)
        language_model = LanguageModel(
            tokenizer=processor.tokenizer,
            decoder=model.model.language_model,
            head=model.lm_head,
            embedding=model.get_input_embeddings(),
            projections=first_layer_projections(model.model.language_model, shape.decoder),
            audio_token_id=model.config.audio_token_id,
            end_token_ids=end_token_ids(model.generation_config, processor.tokenizer),
            max_prompt_tokens=model.config.text_config.max_position_embeddings,
        )
        super().__init__(
            name=name,
            shape=shape,
            language_model=language_model,
            encoder_batch_size=encoder_batch_size,
            prefill_batch_tokens=prefill_batch_tokens,
        )

    @abstractmethod
    def encode_features(self, features: torch.Tensor, num_samples: Sequence[int]) -> torch.Tensor:
        """Encode log-mel features of windows of these lengths up to the states."""

    @property
    @abstractmethod
    def last_layer(self) -> Any:
        """The projector's last linear layer: states to audio embeddings."""

    def render_chat(self, user_text: str) -> str:
        """Render the processor's chat template: the audio, then the user's words."""
        content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": user_text}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of at most 30 s.

        Full windows and short ones use different attention kernels: only where a batch holds one kind, a
        window's states don't depend on the others.
        """
        samples = [window.samples for window in windows]
        lengths = [len(own) for own in samples]
        features = self._features(samples)
        if min(lengths) >= self.full_window_samples and len(windows) == self.encoder_batch_size:
            states = self._encode_full_batch(features)
        else:
            states = self.encode_features(features, lengths)
        return EncodedWindows(states, [self.token_times(window) for window in windows])

    def token_times(self, window: Window) -> np.ndarray:
        """Start and end of a window's tokens in seconds of the recording, ``(tokens, 2)``."""
        num_tokens, rate = num_audio_tokens(len(window.samples)), self.shape.token_rate
        starts = window.start_seconds + np.arange(num_tokens) / rate
        return np.stack([starts, starts + 1 / rate], axis=1)

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P and b of the projector's last linear layer."""
        return self.last_layer.weight, self.last_layer.bias

    def _features(self, samples: Sequence[np.ndarray]) -> torch.Tensor:
        return self._log_mel(samples).to(self.model.model.audio_tower.dtype)

    def _encode_unmasked(self, features: torch.Tensor) -> torch.Tensor:
        return self.encode_features(features, [self.window_samples] * len(features))

    @torch.inference_mode()
    def graph_encoder(self) -> bool:
        """Replay full batches from a CUDA graph: compiled layers run faster than the host launches them."""
        features = self._features([np.zeros(self.window_samples, np.int16)] * self.encoder_batch_size)
        self._encode_full_batch = GraphedCall(self._encode_unmasked, features)
        return True

    @property
    def layers(self) -> list[torch.nn.Module]:
        """Those of the encoder and of the decoder."""
        return [*self.model.model.audio_tower.layers, *super().layers]

    @property
    def num_encoder_frames(self) -> int:
        """Mel frames that the encoder takes: here two a position."""
        return 2 * int(self.model.model.audio_tower.config.max_source_positions)

    def _check_features(self, name: str) -> None:
        """Refuse a feature extractor of another model."""
        extractor, tower = self.processor.feature_extractor, self.model.model.audio_tower
        given = (extractor.feature_size, extractor.nb_max_frames)
        taken = (tower.config.num_mel_bins, self.num_encoder_frames)
        if given != taken:
            raise ModelError(
                f"the feature extractor of model {name} gives {given[0]} mel bins by {given[1]} frames, its "
                f"encoder takes {taken[0]} by {taken[1]}: get both configurations again"
            )


def whisper_sizes(config: PreTrainedConfig) -> dict[str, int]:
    """Read the sizes of the encoder, as keyword arguments of ``WhisperEncoderShape``."""
    audio = config.audio_config
    return {
        "hidden_size": audio.d_model,
        "num_layers": audio.encoder_layers,
        "ffn_size": audio.encoder_ffn_dim,
        "num_mel_bins": audio.num_mel_bins,
        "num_positions": audio.max_source_positions,
        "projected_size": config.text_config.hidden_size,
    }


def up_to(lengths: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
    """True up to each length: ``(lengths, size)``, sent without waiting for the device."""
    valid = staging_zeros((len(lengths), size), torch.bool, device)
    for row, length in zip(valid.numpy(), lengths, strict=True):
        row[:length] = True
    return valid.to(device, non_blocking=True)


def encoder_mask(tower: Any, lengths: Sequence[int]) -> torch.Tensor | None:
    """Hide the positions behind the end of each window, as Hugging Face's own forward does.

    - ``tower``: the encoder.
    - ``lengths``: positions of each window; where all are full there is nothing to hide: None.
    """
    from transformers.masking_utils import create_bidirectional_mask

    if min(lengths) >= tower.config.max_source_positions:
        return None
    valid = up_to(lengths, tower.config.max_source_positions, tower.device)
    return create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=torch.zeros(*valid.shape, 1, dtype=tower.dtype, device=tower.device),
        attention_mask=valid,
        allow_is_bidirectional_skip=False,  # asking whether all are valid would wait for the device
    )
