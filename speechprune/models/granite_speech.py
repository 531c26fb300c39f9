"""Granite Speech: a conformer, a transformer whose queries read it in blocks, a Granite language model.

The modules themselves run unpatched. Features are made here: the family's own extractor wants torchaudio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import PreTrainedConfig
from transformers.audio_utils import mel_filter_bank

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ModelShape, QueriedConformerShape
from speechprune.models.base import EncodedWindows, LanguageModel, SpeechModel, Window
from speechprune.models.hub import ModelError
from speechprune.models.log_mel import MAX_INT16, log_compress
from speechprune.models.lora import ADAPTER_CONFIG
from speechprune.models.source import ModelSource, end_token_ids
from speechprune.models.text_model import decoder_shape, first_layer_projections, load_tokenizer
from speechprune.models.without_layer import without_layer
from speechprune.pruning.transfers import upload

WINDOW_SECONDS = 36  # whole blocks of attention (4 s) and of queries (0.3 s)
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
FFT_SAMPLES, HANN_SAMPLES, HOP_SAMPLES = 512, 400, 160
STACKED_MEL_FRAMES = 2  # a position
POSITION_SECONDS = STACKED_MEL_FRAMES * HOP_SAMPLES / SAMPLE_RATE
# of the model card; a template without one would take the day's date into the prompt
SYSTEM_PROMPT = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)


class GraniteSpeech(SpeechModel):
    """Granite Speech behind the contract of ``SpeechModel``: 10 tokens a second.

    - ``model``: a loaded ``GraniteSpeechForConditionalGeneration`` in eval mode, its adapter merged.
    - ``tokenizer``: with the chat template.
    """

    model_types: ClassVar[tuple[str, ...]] = ("granite_speech",)
    short_windows_share_batches: ClassVar[bool] = False  # nothing masks what would fill one up
    min_window_samples: ClassVar[int] = FFT_SAMPLES // 2 + 1  # the first spectrum mirrors that much
    full_window_samples: ClassVar[int] = WINDOW_SAMPLES

    def __init__(self, model: Any, tokenizer: Any, *, name: str, **batches: Any) -> None:
        self.model = model
        shape, config = self.shape_of(model.config), model.config
        encoder, decoder = model.model.encoder, model.model.language_model
        self._queries = without_layer(model.model.projector, "linear")
        self._audio_token = tokenizer.convert_ids_to_tokens(config.audio_token_id)
        filters = mel_filter_bank(
            num_frequency_bins=FFT_SAMPLES // 2 + 1,
            num_mel_filters=encoder.config.input_dim // STACKED_MEL_FRAMES,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
        )
        self._filters = torch.from_numpy(filters.T).to(encoder.device, torch.float32)
        self._hann = torch.hann_window(HANN_SAMPLES, device=encoder.device)
        language_model = LanguageModel(
            tokenizer=tokenizer,
            decoder=decoder,
            head=ScaledHead(model.lm_head, config.text_config.logits_scaling),
            embedding=model.get_input_embeddings(),
            projections=first_layer_projections(decoder, shape.decoder),
            audio_token_id=config.audio_token_id,
            end_token_ids=end_token_ids(model.generation_config, tokenizer),
            max_prompt_tokens=config.text_config.max_position_embeddings,
        )
        super().__init__(name=name, shape=shape, language_model=language_model, **batches)

    @classmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes of all parts from config.json."""
        audio, queries = config.encoder_config, config.projector_config
        encoder = QueriedConformerShape(
            hidden_size=audio.hidden_dim,
            ffn_size=audio.hidden_dim * audio.feedforward_mult,
            attention_size=audio.num_heads * audio.dim_head,
            conv_size=audio.hidden_dim * audio.conv_expansion_factor,
            num_layers=audio.num_layers,
            input_size=audio.input_dim,
            output_size=audio.output_dim,
            kernel=audio.conv_kernel_size,
            block_positions=audio.context_size,
            states_size=queries.hidden_size,
            query_ffn_size=queries.intermediate_size,
            num_query_layers=queries.num_hidden_layers,
            num_cross_layers=-(-queries.num_hidden_layers // queries.cross_attention_frequency),
            queried_positions=config.window_size,
            num_queries=config.window_size // config.downsample_rate,
            projected_size=config.text_config.hidden_size,
            num_positions=num_positions(WINDOW_SAMPLES),
            window_seconds=WINDOW_SECONDS,
        )
        return ModelShape(decoder=decoder_shape(config.text_config), encoder=encoder)

    @classmethod
    def load(cls, source: ModelSource) -> Self:
        """Load one folder or hub repository, its adapter merged into the weights.

        Raises
        ------
        ModelError
            The adapter is missing.
        """
        from transformers import GraniteSpeechForConditionalGeneration

        has_adapter = source.config.has_lora_adapter and not source.options.random_weights
        if has_adapter and source.stored_file(ADAPTER_CONFIG, needed=False) is None:
            raise ModelError(
                f"model {source.options.path} lacks its adapter ({ADAPTER_CONFIG} and weights), which "
                "config.json names as has_lora_adapter: get it again"
            )
        source.config.has_lora_adapter = False  # merged: nothing is left to switch on
        model = source.load_weights(GraniteSpeechForConditionalGeneration)
        return cls(model, load_tokenizer(source), **source.batches)

    def render_chat(self, user_text: str) -> str:
        """Render the chat template: the system prompt where it takes one, the audio, the user's words."""
        conversation = [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": self._audio_token + user_text},
        ]
        rendered = self.tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows of one length, each up to the states: what the queries read."""
        encoder = self.model.model.encoder
        features = self.features([window.samples for window in windows])
        positions = encoder(features.to(encoder.dtype)).last_hidden_state
        states = self._queries(positions.to(self._queries.query.device))
        return EncodedWindows(states, [self.token_times(window) for window in windows])

    def features(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """Compute log-mel features of windows of one length, ``(windows, positions, 2 · mel bins)``.

        As the family's own extractor does, with torchaudio's ``MelSpectrogram``.
        """
        samples = upload(np.stack(windows), self._hann.device).float() / MAX_INT16
        spectrum = torch.stft(
            samples, FFT_SAMPLES, HOP_SAMPLES, HANN_SAMPLES, self._hann, return_complex=True
        )
        log_mel = log_compress(self._filters @ spectrum.abs() ** 2).transpose(1, 2)
        num_frames = log_mel.shape[1] // STACKED_MEL_FRAMES * STACKED_MEL_FRAMES
        return log_mel[:, :num_frames].reshape(len(windows), num_frames // STACKED_MEL_FRAMES, -1)

    def token_times(self, window: Window) -> np.ndarray:
        """Start and end of a window's tokens in seconds: those of a block of positions have its times."""
        config, num_samples = self.model.config, len(window.samples)
        starts = np.arange(0, num_positions(num_samples), config.window_size) * POSITION_SECONDS
        ends = np.minimum(starts + config.window_size * POSITION_SECONDS, num_samples / SAMPLE_RATE)
        blocks = window.start_seconds + np.stack([starts, ends], axis=1)
        return blocks.repeat(config.window_size // config.downsample_rate, axis=0)

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P and b of the projector's linear layer."""
        layer = self.model.model.projector.linear
        return layer.weight, layer.bias


class ScaledHead(torch.nn.Module):
    """The output layer of a Granite language model, whose logits are divided by a constant.

    The class of the whole in transformers leaves that out, which changes no greedy token but probabilities.
    """

    def __init__(self, head: torch.nn.Module, divisor: float) -> None:
        super().__init__()
        self.head, self.divisor = head, divisor

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Give the logits of states."""
        logits: torch.Tensor = self.head(states) / self.divisor
        return logits


def num_positions(num_samples: int) -> int:
    """Count the encoder's positions of a window: two mel frames each, one every 10 ms and one at the end."""
    return (num_samples // HOP_SAMPLES + 1) // STACKED_MEL_FRAMES
