"""The contract of a model family: what a Speech LLM must give, and what is the same for all of them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechprune.audio import SAMPLE_RATE
from speechprune.cost import ModelShape
from speechprune.pruning import FirstLayerProjections
from speechprune.pruning.phase1 import frame_boundaries
from speechprune.pruning.transfers import upload

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from speechprune.models.source import ModelSource


# all but cuDNN's attention, which is faster, but plans each shape that is new to it for longer than that
_KERNELS_OF_ANY_SHAPE = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attention_of_any_shape(device: torch.device) -> AbstractContextManager[None]:
    """Choose attention kernels for batches of prompts, nearly each of which has a shape of its own."""
    return sdpa_kernel(_KERNELS_OF_ANY_SHAPE) if device.type == "cuda" else contextlib.nullcontext()


@dataclass(frozen=True)
class Window:
    """One input of an encoder."""

    samples: np.ndarray  # int16 at 16 kHz, at most ``window_samples`` of the model
    start_seconds: float  # where in the recording it starts


@dataclass(frozen=True)
class EncodedWindows:
    """What an encoder makes of a batch of windows.

    Parameters
    ----------
    states
        Shape ``(windows, n, d)``; rows behind a window's own tokens mean nothing. Where
        ``states_are_ids``, int32 with d = 1.
    times
        Start and end of each window's own tokens in seconds of the recording, float64, ``(tokens, 2)`` each.
        Their number may depend on the sound, not on its length alone.
    extra_flops
        FLOPs of each window beyond those that ``EncoderShape.flops`` counts, negative where it took fewer;
        None in a family whose cost does not depend on the sound.
    """

    states: torch.Tensor
    times: list[np.ndarray]
    extra_flops: list[int] | None = None


@dataclass(frozen=True)
class EmbeddedWindow:
    """A window as the LLM takes it."""

    embeds: torch.Tensor  # S, ``(tokens, D)``
    times: np.ndarray  # of its tokens, ``(tokens, 2)``
    extra_flops: int  # see ``EncodedWindows``
    token_ids: np.ndarray | None  # where states are ids: those of its tokens, ``(tokens,)``


@dataclass(frozen=True)
class SplicedPrompt:
    """A prompt with the kept audio tokens in their place."""

    embeds: torch.Tensor  # ``inputs_embeds``, shape ``(tokens, D)``
    token_ids: list[int]  # one a position; ``audio_token_id`` where the audio is


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """The text side of a loaded model: the handles on which prompts are scored and answers generated."""

    tokenizer: Any  # a fast tokenizer, with offsets
    decoder: Any  # the decoder without its head: takes ``inputs_embeds``, gives ``last_hidden_state``
    head: Any  # states to logits
    embedding: Any  # token ids to embeddings, scaled as the decoder takes them
    projections: FirstLayerProjections  # W_Q and W_K of the first layer, for phase 2
    audio_token_id: int  # the placeholder of the audio in a rendered chat
    end_token_ids: frozenset[int]  # tokens that end an answer
    max_prompt_tokens: int  # longest prompt that the decoder takes
    rope_switch: int | None = None  # beyond this many tokens a prompt has other rotary factors (LongRoPE)


class SpeechModel(ABC):
    """A loaded Speech LLM: encode windows, embed text, score prompts.

    ``generation`` continues prompts, ``likelihood`` scores texts that follow them.

    A family is one file with a subclass, and one line in ``MODELS``. Encoding, pruning, prompts, scoring, the
    index and the search are shared; a family has only what differs.

    - ``encoder_batch_size``: windows in one encoder batch, always of this one shape.
    - ``prefill_batch_tokens``: padded tokens in one prefill batch (at least one prompt).
    """

    model_types: ClassVar[tuple[str, ...]]  # values of model_type in config.json
    # False where a short window's tokens would depend on the other windows of its batch: it is encoded alone
    short_windows_share_batches: ClassVar[bool] = True
    # True where states are token ids: S is their rows of a table, which ``projector`` gives transposed
    states_are_ids: ClassVar[bool] = False
    min_window_samples: ClassVar[int]  # the shortest window that gives a token
    full_window_samples: ClassVar[int]  # from here on a window needs no mask

    def __init__(
        self,
        *,
        name: str,
        shape: ModelShape,
        language_model: LanguageModel,
        encoder_batch_size: int,
        prefill_batch_tokens: int,
    ) -> None:
        self.name = name
        self.shape = shape
        self.language_model = language_model
        self.encoder_batch_size = encoder_batch_size
        self.prefill_batch_tokens = prefill_batch_tokens

    # --------------------------------------------------------------------------------------------------------
    # What a family gives

    @classmethod
    def parse_config(cls, values: dict[str, Any]) -> PreTrainedConfig:
        """Turn the content of config.json into a config; here by the class that transformers has for it.

        ``_name_or_path`` is added to it: the folder or hub id that it comes from.
        """
        from transformers import AutoConfig

        return AutoConfig.for_model(**values)

    @classmethod
    @abstractmethod
    def shape_of(cls, config: PreTrainedConfig) -> ModelShape:
        """Read the sizes that the cost account needs."""

    @classmethod
    def holds_all_weights(cls, config: PreTrainedConfig) -> bool:
        """Whether the model is in one folder, or whether config.json names other repositories."""
        return True

    @classmethod
    @abstractmethod
    def load(cls, source: ModelSource) -> Self:
        """Load weights, tokenizer and feature extractor."""

    @classmethod
    def load_tokenizer(cls, source: ModelSource) -> Any:
        """Load the tokenizer without weights: what a family gives whose states are token ids."""
        raise NotImplementedError

    @abstractmethod
    def render_chat(self, user_text: str) -> str:
        """Render the model's chat template around one audio placeholder and the user's words."""

    @abstractmethod
    def encode_windows(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode a batch of windows, all full or all short, up to the states."""

    @property
    @abstractmethod
    def projector(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """P, ``(D, d)``, and b, ``(D,)`` or None. Where states are ids, d is the size of the vocabulary."""

    @torch.inference_mode()
    def project(self, states: torch.Tensor) -> torch.Tensor:
        """Project states to audio embeddings, S = x Pᵀ + b: ``(..., d)`` to ``(..., D)``, on ``device``."""
        weight, bias = self.projector
        embeds = torch.nn.functional.linear(states.to(weight.device, weight.dtype), weight, bias)
        return embeds.to(self.device)

    @property
    def layers(self) -> list[torch.nn.Module]:
        """Layers that ``torch.compile`` may compile one by one: here the decoder's; a family adds its own."""
        return list(self.language_model.decoder.layers)

    def graph_encoder(self) -> bool:
        """Replay full batches of the encoder from a CUDA graph; returns whether the family can: here not."""
        return False

    def frame_starts(self, times: np.ndarray) -> np.ndarray:
        """Group a recording's tokens to the budget frames of phase 1, see ``frame_boundaries``.

        A family whose tokens have no time inside a window overrides it.
        """
        return frame_boundaries(times[:, 0])

    def prompt_inputs(
        self, prompts: Sequence[SplicedPrompt], padding_side: Literal["left", "right"]
    ) -> dict[str, torch.Tensor]:
        """Pad prompts to one batch, as keyword arguments of the decoder."""
        embeds = [prompt.embeds for prompt in prompts]
        padded = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True, padding_side=padding_side)
        return {"inputs_embeds": padded}

    def step_inputs(self, embeds: torch.Tensor, token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Pass on the next tokens of answers, as keyword arguments of the decoder.

        A family that overrides ``prompt_inputs`` overrides this, too. On a GPU it is captured in a CUDA
        graph, so it must not read ``token_ids`` on the host.

        Parameters
        ----------
        embeds
            Shape ``(answers, n, D)``: one token each in generation, more where texts are scored.
        token_ids
            Shape ``(answers, n)``.
        """
        return {"inputs_embeds": embeds}

    # --------------------------------------------------------------------------------------------------------
    # What is the same for all

    @property
    def tokenizer(self) -> Any:
        """The fast tokenizer."""
        return self.language_model.tokenizer

    @property
    def device(self) -> torch.device:
        """Where prompts are embedded; with sharded weights the first device."""
        device: torch.device = self.language_model.embedding.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and embeddings."""
        dtype: torch.dtype = self.language_model.embedding.weight.dtype
        return dtype

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.shape.encoder.window_seconds

    @property
    def window_samples(self) -> int:
        """Length of a window in samples."""
        return round(self.window_seconds * SAMPLE_RATE)

    @torch.inference_mode()
    def embed_windows(self, windows: Sequence[Window]) -> list[EmbeddedWindow]:
        """Encode and project one batch of windows."""
        encoded = self.encode_windows(windows)
        embeds = self.project(encoded.states)
        extra_flops = encoded.extra_flops or [0] * len(windows)
        ids = encoded.states[..., 0].cpu().numpy() if self.states_are_ids else [None] * len(windows)
        # clone: a view would keep the whole batch alive for as long as one short window is kept
        return [
            EmbeddedWindow(
                S[: len(times)].clone(), times, extra, None if own_ids is None else own_ids[: len(times)]
            )
            for S, times, extra, own_ids in zip(embeds, encoded.times, extra_flops, ids, strict=True)
        ]

    @torch.inference_mode()
    def embed_tokens(self, token_ids: list[int]) -> torch.Tensor:
        """Embed text tokens, ``(L, D)``."""
        embeds: torch.Tensor = self.language_model.embedding(upload(token_ids, self.device))
        return embeds

    @torch.inference_mode()
    def next_token_logits(self, prompts: Sequence[SplicedPrompt]) -> torch.Tensor:
        """Compute the logits of the token that follows each prompt, from one prefill.

        Prompts are padded on the right: causal attention never looks there, so no mask is needed, and only
        the last position's logits are formed.

        Returns
        -------
        torch.Tensor
            float32, shape ``(len(prompts), V)``.
        """
        inputs = self.prompt_inputs(prompts, "right")
        with attention_of_any_shape(self.device):
            states = self.language_model.decoder(**inputs, use_cache=False).last_hidden_state
        last = upload([len(prompt.token_ids) - 1 for prompt in prompts], states.device)
        rows = torch.arange(len(prompts), device=states.device)
        logits: torch.Tensor = self.language_model.head(states[rows, last])
        return logits.float()
