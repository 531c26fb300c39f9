"""Voxtral: a Whisper-large-v3 encoder, four positions stacked to a token, an MLP, a Mistral model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ModelShape, WhisperMlpShape
from speechprune.models.base import Window
from speechprune.models.hub import ModelError
from speechprune.models.source import ModelSource
from speechprune.models.text_model import decoder_shape
from speechprune.models.whisper_family import WhisperFamily, whisper_sizes
from speechprune.pruning.phase1 import frame_boundaries

TOKENIZER_FILE = "tekken.json"
# <s>[INST][BEGIN_AUDIO][AUDIO]...words[/INST]: the hub has no template, Mistral's own package composes it
BEFORE_WORDS = ("<s>", "[INST]", "[BEGIN_AUDIO]", "[AUDIO]")
BEHIND_WORDS = "[/INST]"


class Voxtral(WhisperFamily):
    """Voxtral behind the contract of ``SpeechModel``.

    Silence fills a short window up, and its tokens are kept, as by Voxtral's own processor: every window is
    375 tokens, 12.5 a second.
    """

    model_types: ClassVar[tuple[str, ...]] = ("voxtral",)
    min_window_samples: ClassVar[int] = 1
    full_window_samples: ClassVar[int] = 0  # nothing is masked

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both parts from config.json."""
        audio = config.audio_config
        encoder = WhisperMlpShape(
            **whisper_sizes(config),
            positions_per_token=audio.intermediate_size // audio.hidden_size,
            projector_input_size=audio.intermediate_size,
        )
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository; the package mistral-common is not needed."""
        from transformers import AutoFeatureExtractor, VoxtralForConditionalGeneration, VoxtralProcessor

        extractor = AutoFeatureExtractor.from_pretrained(**source.location)
        processor = VoxtralProcessor(extractor, _load_tokenizer(source))
        model = source.load_weights(VoxtralForConditionalGeneration)
        return cls(model, processor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Compose the chat that Mistral's own package does: the audio, then the user's words."""
        return "".join(BEFORE_WORDS) + user_text + BEHIND_WORDS

    @torch.inference_mode()
    def encode_features(self, features: torch.Tensor, num_samples: Sequence[int]) -> torch.Tensor:
        """Encode up to the states: behind the MLP's activation."""
        projector = self.model.model.multi_modal_projector
        positions = self.model.model.audio_tower(features).last_hidden_state
        stacked = positions.reshape(len(features), self.shape.encoder.window_tokens, -1)
        states: torch.Tensor = projector.act(projector.linear_1(stacked))
        return states

    @property
    def last_layer(self) -> Any:
        """The second layer of the MLP."""
        return self.model.model.multi_modal_projector.linear_2

    def token_times(self, window: Window) -> np.ndarray:
        """Start and end of a window's tokens; those of silence behind its sound have the last one's time."""
        seconds = len(window.samples) / SAMPLE_RATE
        last = np.ceil(seconds * self.shape.token_rate) - 1
        numbers = np.minimum(np.arange(self.shape.encoder.window_tokens), last)
        starts = numbers / self.shape.token_rate
        ends = np.minimum((numbers + 1) / self.shape.token_rate, seconds)
        return window.start_seconds + np.stack([starts, ends], axis=1)

    def frame_starts(self, times: np.ndarray) -> np.ndarray:
        """Group tokens by the second of their window; silence behind the sound has seconds of its own."""
        window_starts = times[:, 0].reshape(-1, self.shape.encoder.window_tokens)[:, :1]
        seconds = np.arange(self.shape.encoder.window_tokens) / self.shape.token_rate
        return frame_boundaries((window_starts + seconds).ravel())


def _load_tokenizer(source: ModelSource) -> Any:
    """Load Mistral's tokenizer file as a fast tokenizer, which gives the offsets of tokens."""
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import cached_file

    # by its folder: with a hub's cache alone, transformers does not look for a file of this name
    file = cached_file(
        source.folder,
        TOKENIZER_FILE,
        revision=source.options.revision,
        local_files_only=source.location["local_files_only"],
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(Path(str(file)).parent)
    ids, audio_id = tokenizer.get_added_vocab(), source.config.audio_token_id
    missing = [token for token in (*BEFORE_WORDS, BEHIND_WORDS) if token not in ids]
    if missing or ids["[AUDIO]"] != audio_id:
        lack = missing[0] if missing else f"[AUDIO] at {audio_id}, where config.json has it"
        raise ModelError(f"{TOKENIZER_FILE} of model {source.options.path} has no {lack}: get both again")
    return tokenizer
