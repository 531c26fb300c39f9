"""Qwen2-Audio: a Whisper-large-v3 encoder, a linear projector, Qwen2 7B.

Everything that knows Hugging Face's internals of this family is in this file; the modules
themselves run unpatched.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE, WINDOW_SAMPLES, WINDOW_SECONDS
from speechprune.cost import ModelShape
from speechprune.pruning import FirstLayerProjections

_MEL_FRAMES = WINDOW_SAMPLES // MEL_HOP_SAMPLES  # 3,000, the only length the encoder takes


class Qwen2Audio:
    """Encode windows, embed text, prefill, generate.

    Parameters
    ----------
    model
        A loaded ``Qwen2AudioForConditionalGeneration`` in eval mode.
    processor
        Its ``Qwen2AudioProcessor``.
    name
        What the model is called in rows and messages.
    encoder_batch_size
        Windows in one encoder batch; ``encoding`` keeps to this one shape.
    prefill_batch_tokens
        Padded tokens in one prefill batch (at least one prompt).
    """

    @staticmethod
    def model_class() -> Any:
        """Hugging Face's own; imported here: it takes seconds, which a driver, that never loads it, saves."""
        from transformers import Qwen2AudioForConditionalGeneration

        return Qwen2AudioForConditionalGeneration

    def __init__(
        self, model: Any, processor: Any, *, name: str, encoder_batch_size: int, prefill_batch_tokens: int
    ) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self.encoder_batch_size = encoder_batch_size
        self.prefill_batch_tokens = prefill_batch_tokens
        self.shape = self.shape_of(model.config)
        self.frame_tokens = self.num_audio_tokens(SAMPLE_RATE * WINDOW_SECONDS) // WINDOW_SECONDS
        self.audio_token_id: int = model.config.audio_token_id
        self.max_prompt_tokens: int = model.config.text_config.max_position_embeddings
        attention = model.model.language_model.layers[0].self_attn
        self.projections = FirstLayerProjections(
            attention.q_proj.weight,
            attention.k_proj.weight,
            self.shape.num_attention_heads,
            self.shape.num_key_value_heads,
        )

    @staticmethod
    def shape_of(config: PreTrainedConfig) -> ModelShape:
        """The sizes that the cost account needs."""
        text, audio = config.text_config, config.audio_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return ModelShape(
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_hidden_layers=text.num_hidden_layers,
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=text.num_key_value_heads,
            head_dim=head_dim,
            vocab_size=text.vocab_size,
            encoder_hidden_size=audio.d_model,
            encoder_layers=audio.encoder_layers,
            encoder_attention_heads=audio.encoder_attention_heads,
            encoder_ffn_dim=audio.encoder_ffn_dim,
            num_mel_bins=audio.num_mel_bins,
            encoder_positions=audio.max_source_positions,
        )

    @property
    def device(self) -> torch.device:
        """Where prompts are embedded; with sharded weights the first device."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and embeddings."""
        return self.model.get_input_embeddings().weight.dtype

    @property
    def tokenizer(self) -> Any:
        """The processor's fast tokenizer."""
        return self.processor.tokenizer

    @staticmethod
    def num_audio_tokens(num_samples: int) -> int:
        """Audio tokens of a window: mel frames halved by a convolution, halved again by pooling."""
        num_mel_frames = -(-num_samples // MEL_HOP_SAMPLES)
        after_convolution = (num_mel_frames - 1) // 2 + 1
        return max(0, (after_convolution - 2) // 2 + 1)

    def render_chat(self, user_text: str) -> str:
        """The model's own chat template around one recording and the user's words."""
        content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": user_text}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(rendered, str)
        return rendered

    @property
    def window_tokens(self) -> int:
        """Audio tokens of a full window."""
        return self.frame_tokens * WINDOW_SECONDS

    @torch.inference_mode()
    def encode_windows(self, windows: list[np.ndarray]) -> list[torch.Tensor]:
        """Encode and project one batch of windows.

        Parameters
        ----------
        windows
            See ``encode_states``.

        Returns
        -------
        list of torch.Tensor
            S of each window, ``(tokens, D)``, without the padded tail.
        """
        embeds = self.project(self.encode_states(windows))
        # clone: a view would keep the whole batch alive for as long as one short window is kept
        return [embeds[i, : self.num_audio_tokens(len(window))].clone() for i, window in enumerate(windows)]

    @torch.inference_mode()
    def encode_states(self, windows: list[np.ndarray]) -> torch.Tensor:
        """Encode one batch of windows, up to the projector.

        Parameters
        ----------
        windows
            Arrays of int16, each of 30 s at most. Full windows and short ones use different
            attention kernels: to be independent of what else is in the batch, put only one kind in it.

        Returns
        -------
        torch.Tensor
            The encoder's states, ``(windows, tokens of a full window, d)``; behind a window's own tokens
            they mean nothing.
        """
        features = self.processor.feature_extractor(
            [window.astype(np.float32) / 32768.0 for window in windows],
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
            device=str(self.model.model.audio_tower.device),
        )
        tower = self.model.model.audio_tower
        mask = self._encoder_mask(features["attention_mask"].to(tower.device))
        states: torch.Tensor = tower(
            features["input_features"].to(tower.device), attention_mask=mask
        ).last_hidden_state
        return states

    @torch.inference_mode()
    def project(self, states: torch.Tensor) -> torch.Tensor:
        """Encoder states to audio embeddings, S = x Pᵀ + b: ``(..., d)`` to ``(..., D)``, on ``device``."""
        projector = self.model.model.multi_modal_projector
        like = projector.linear.weight
        embeds: torch.Tensor = projector(states.to(like.device, like.dtype))
        return embeds.to(self.device)

    @property
    def projector(self) -> tuple[torch.Tensor, torch.Tensor]:
        """P, ``(D, d)``, and b, ``(D,)``."""
        linear = self.model.model.multi_modal_projector.linear
        return linear.weight, linear.bias

    def _encoder_mask(self, mel_mask: torch.Tensor) -> torch.Tensor | None:
        """Hide the positions behind the end of each window, as Hugging Face's own forward does."""
        from transformers.masking_utils import create_bidirectional_mask

        tower = self.model.model.audio_tower
        num_positions, _ = tower._get_feat_extract_output_lengths(mel_mask.sum(-1))
        positions = torch.arange(self.shape.encoder_positions, device=mel_mask.device)
        valid = (positions[None, :] < num_positions[:, None]).long()
        like = torch.zeros(*valid.shape, 1, dtype=self.dtype, device=mel_mask.device)
        return create_bidirectional_mask(config=tower.config, inputs_embeds=like, attention_mask=valid)

    @torch.inference_mode()
    def embed_tokens(self, token_ids: list[int]) -> torch.Tensor:
        """Text embeddings, ``(L, D)``."""
        return self.model.get_input_embeddings()(torch.tensor(token_ids, device=self.device))

    @torch.inference_mode()
    def next_token_logits(self, prompts: list[torch.Tensor]) -> torch.Tensor:
        """Logits of the token that follows each prompt, from one prefill.

        Prompts are padded on the right: causal attention never looks there, so no mask is needed,
        and only the last position's logits are formed.

        Parameters
        ----------
        prompts
            ``inputs_embeds`` of each prompt, ``(tokens, D)``.

        Returns
        -------
        torch.Tensor
            float32, shape ``(len(prompts), V)``.
        """
        inputs_embeds = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
        states = self.model.model(inputs_embeds=inputs_embeds, use_cache=False).last_hidden_state
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=states.device)
        rows = torch.arange(len(prompts), device=states.device)
        return self.model.lm_head(states[rows, last]).float()

    @torch.inference_mode()
    def generate(self, prompts: list[torch.Tensor], max_new_tokens: int) -> tuple[list[list[int]], float]:
        """Greedy continuation of each prompt, by Hugging Face's ``generate``.

        Parameters
        ----------
        prompts
            ``inputs_embeds`` of each prompt, ``(tokens, D)``.
        max_new_tokens
            Limit, the closing token included.

        Returns
        -------
        tuple
            Token ids of each answer, up to and without padding, and the time (``perf_counter``
            seconds) at which the first tokens were there.
        """
        inputs_embeds = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_side="left")
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        positions = torch.arange(inputs_embeds.shape[1], device=self.device)
        mask = (positions[None, :] >= inputs_embeds.shape[1] - lengths[:, None]).long()
        config = copy.deepcopy(self.model.generation_config)
        config.update(
            max_new_tokens=max_new_tokens,
            max_length=None,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,  # it would see the generated tokens only: the prompt has no ids
        )
        if config.pad_token_id is None:
            config.pad_token_id = self.tokenizer.pad_token_id or 0
        first_token = _FirstToken()
        output = self.model.generate(
            inputs_embeds=inputs_embeds,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=[first_token],
        )
        closing = _as_list(config.eos_token_id)
        return [_up_to_closing(row, closing) for row in output.tolist()], first_token.seconds


class _FirstToken:
    """Never stops; notes when it was first asked, which is when the prefill was done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """All sequences go on."""
        if not self.seconds:
            if input_ids.is_cuda:
                torch.cuda.synchronize(input_ids.device)
            self.seconds = time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _as_list(token_ids: int | list[int] | None) -> list[int]:
    if token_ids is None:
        return []
    return token_ids if isinstance(token_ids, list) else [token_ids]


def _up_to_closing(token_ids: list[int], closing: list[int]) -> list[int]:
    for i, token_id in enumerate(token_ids):
        if token_id in closing:
            return token_ids[: i + 1]
    return token_ids
