"""DiVA: Whisper-large-v3, whose decoder turns 448 learned queries into a window's audio tokens, and Llama 3.

It was distilled from Llama's own reading of transcripts. A query has no place in time: all that is known of
an audio token is its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ModelShape, QueryingEncoderShape
from speechprune.models.base import EncodedWindows, SpeechModel, Window
from speechprune.models.diva_config import DivaConfig, parse_diva
from speechprune.models.log_mel import LogMel
from speechprune.models.source import ModelSource
from speechprune.models.text_model import check_chat_template, decoder_shape, language_model_with

PLACEHOLDER = "<|audio|>"  # added to the tokenizer in memory; it has no embedding and needs none
WINDOW_SECONDS = 30


class Diva(SpeechModel):
    """DiVA behind the contract of ``SpeechModel``.

    - ``encoder``: the encoder of the loaded Whisper.
    - ``connector``: a loaded ``DivaConnector``.
    - ``model``: a loaded ``LlamaForCausalLM``.
    - ``tokenizer``: its fast tokenizer.
    - ``extractor``: Whisper's feature extractor.
    """

    model_types: ClassVar[tuple[str, ...]] = ("diva",)
    min_window_samples: ClassVar[int] = SAMPLE_RATE // 10  # shorter than any word
    full_window_samples: ClassVar[int] = 0  # silence fills a window up, and nothing is masked

    def __init__(
        self,
        encoder: Any,
        connector: Any,
        model: Any,
        tokenizer: Any,
        extractor: Any,
        *,
        name: str,
        encoder_batch_size: int,
        prefill_batch_tokens: int,
    ) -> None:
        self.encoder = encoder
        self.connector = connector
        self.model = model
        self._log_mel = LogMel(extractor, encoder.device)
        shape = self.shape_of(connector.config)
        super().__init__(
            name=name,
            shape=shape,
            language_model=language_model_with(PLACEHOLDER, model, tokenizer, shape.decoder),
            encoder_batch_size=encoder_batch_size,
            prefill_batch_tokens=prefill_batch_tokens,
        )

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> DivaConfig:
        """Parse config.json and those of both models."""
        return parse_diva(values)

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of both models from their configs."""
        config = cast(DivaConfig, config)
        whisper = config.whisper
        encoder = QueryingEncoderShape(
            hidden_size=whisper.d_model,
            num_layers=whisper.encoder_layers,
            ffn_size=whisper.encoder_ffn_dim,
            num_mel_bins=whisper.num_mel_bins,
            num_positions=whisper.max_source_positions,
            projected_size=config.llama.hidden_size,
            num_decoder_layers=whisper.decoder_layers,
            decoder_ffn_size=whisper.decoder_ffn_dim,
            num_queries=whisper.max_target_positions,
        )
        return ModelShape(decoder=decoder_shape(config.llama), encoder=encoder)

    @classmethod
    def holds_all_weights(cls, config: PreTrainedConfig) -> bool:
        """Whether both models are in folders beside config.json."""
        config = cast(DivaConfig, config)
        return bool(config.reference_encoder.subfolder and config.reference_decoder.subfolder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load the connector, the encoder of Whisper, and Llama with its tokenizer."""
        from transformers import AutoFeatureExtractor, AutoTokenizer, LlamaForCausalLM

        from speechprune.models.diva_modules import DivaConnector, EncoderOfWhisper

        config = cast(DivaConfig, source.config)
        whisper, llama = (
            part.source_in(source) for part in (config.reference_encoder, config.reference_decoder)
        )
        extractor = AutoFeatureExtractor.from_pretrained(**whisper.location)
        tokenizer = AutoTokenizer.from_pretrained(**llama.location)
        check_chat_template(tokenizer, llama.folder)
        connector = source.load_weights(DivaConnector)
        encoder = whisper.load_weights(EncoderOfWhisper).encoder
        model = llama.load_weights(LlamaForCausalLM)
        return cls(encoder, connector, model, tokenizer, extractor, **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the prompt that DiVA was published with: the user's words, then the audio.

        The words stand in the place of a system prompt, the audio in a user's turn; where Llama's template
        has no system prompt of its own, both begin with the same line.
        """
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": PLACEHOLDER}], add_generation_prompt=True, tokenize=False
        )
        before, after = chat.split(PLACEHOLDER)
        lines = [line for line in before.split("\n") if line.strip()]
        return f"{lines[0]}\n{user_text}\n{lines[-1]}\n{PLACEHOLDER}{after}"

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of at most 30 s: 448 tokens each, each of which has its window's time."""
        features = self._log_mel([window.samples for window in windows]).to(self.encoder.dtype)
        positions = self.encoder(features).last_hidden_state
        queries = self.connector.query_tokens.expand(len(windows), -1, -1)
        states = self.connector.connector(
            inputs_embeds=queries, encoder_hidden_states=positions, use_cache=False
        ).last_hidden_state
        return EncodedWindows(states, [self._times(window) for window in windows])

    def _times(self, window: Window) -> np.ndarray:
        start, seconds = window.start_seconds, len(window.samples) / SAMPLE_RATE
        return np.tile([start, start + seconds], (self.shape.encoder.window_tokens, 1))

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P and b of the linear projector."""
        return self.connector.projection.weight.T, self.connector.projection.bias

    @property
    def layers(self) -> list[torch.nn.Module]:
        """Those of the encoder, of the connector and of Llama."""
        return [*self.encoder.layers, *self.connector.connector.layers, *super().layers]

    def frame_starts(self, times: np.ndarray) -> np.ndarray:
        """Group the queries of each window to as many budget frames as it has seconds, 14.9 a frame.

        The frames keep Eq 7's arithmetic; they are neighbouring queries, not seconds.
        """
        num_tokens = self.shape.encoder.window_tokens
        borders = np.round(np.arange(WINDOW_SECONDS) * num_tokens / WINDOW_SECONDS)
        starts = (np.arange(len(times) // num_tokens)[:, None] * num_tokens + borders).ravel()
        return np.append(starts, len(times)).astype(np.int64)
