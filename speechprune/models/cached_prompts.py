"""A batch of prompts with its cache of keys and values: what generation and scoring by texts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.pruning.transfers import upload

CACHE_MULTIPLE = 64  # of places: so that batches share few shapes


class CachedPrompts:
    """A batch of prompts with its cache, all on the device.

    Prompts are padded on the left and hidden there by a mask; positions count from each prompt's first token.
    So what follows stands directly behind every prompt, as sliding windows need it.

    Where rotary factors depend on length, all tokens of a batch have those of its longest sequence, from the
    start: cached keys can't change theirs.

    Parameters
    ----------
    num_more
        The most tokens that will follow each prompt.
    has_static_cache
        Allocate the cache at its full length, so that every step has the same shapes.
    """

    def __init__(
        self,
        model: SpeechModel,
        prompts: Sequence[SplicedPrompt],
        num_more: Sequence[int],
        *,
        has_static_cache: bool,
    ) -> None:
        from transformers import DynamicCache, StaticCache

        self._model, self._prompts = model, prompts
        text, device = model.language_model, model.device
        lengths = [len(prompt.token_ids) for prompt in prompts]
        self._width = max(lengths)
        longest = max(length + more for length, more in zip(lengths, num_more, strict=True))
        size = -(-(self._width + max(num_more)) // CACHE_MULTIPLE) * CACHE_MULTIPLE
        switch = text.rope_switch or longest
        # factors go by the last position: with distances unchanged, a later first one stands for a later last
        self._first_position = switch if self._width <= switch < longest else 0
        self._last_position = self._first_position + longest - 1  # padding of texts would lead further
        self._has_static_cache = has_static_cache
        self._cache: Any
        with device:  # a static cache counts its tokens there; moving each count later would wait
            if has_static_cache:
                self._cache = StaticCache(config=text.decoder.config, max_cache_len=size)
            else:
                self._cache = DynamicCache(config=text.decoder.config)
        places, num_tokens = torch.arange(size, device=device), upload(lengths, device)[:, None]
        self._mask = ((places >= self._width - num_tokens) & (places < self._width)).long()
        self._next_positions = num_tokens + self._first_position  # behind each prompt
        self._num_places = self._width  # used so far; no part of a graph

    def run_prompts(self) -> torch.Tensor:
        """Run the prompts; the state at the last token of each, ``(prompts, D)``."""
        positions = (self._mask[:, : self._width].cumsum(dim=1) - 1).clamp(min=0) + self._first_position
        return self._run(self._model.prompt_inputs(self._prompts, "left"), positions)[:, -1]

    def run_texts(self, rows: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """Run several texts behind each prompt, each on a copy of the prompt's cache.

        Parameters
        ----------
        rows
            The prompt that each text follows, shape ``(texts,)``.
        token_ids
            Of the texts, padded on the right, shape ``(texts, n)``.

        Returns
        -------
        torch.Tensor
            States at the texts' tokens, shape ``(texts, n, D)``; those at padding mean nothing.
        """
        num_tokens = token_ids.shape[1]
        self._cache.reorder_cache(rows)  # as for beams: a prompt may be taken several times
        self._mask = self._mask[rows]
        self._mask[:, self._num_places : self._num_places + num_tokens] = 1
        positions = self._next_positions[rows] + torch.arange(num_tokens, device=rows.device)
        self._num_places += num_tokens
        embeds = self._model.language_model.embedding(token_ids)
        positions = positions.clamp(max=self._last_position)
        return self._run(self._model.step_inputs(embeds, token_ids), positions)

    def _run(self, inputs: dict[str, torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self._model.language_model.decoder(
            **inputs,
            attention_mask=self._mask if self._has_static_cache else self._mask[:, : self._num_places],
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return states
