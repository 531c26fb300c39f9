"""Greedy generation, the same for every model family.

Hugging Face's own ``generate`` is the oracle of the tests. It is not used here: in some families it forms the
logits of the whole prompt from ``inputs_embeds``, in others it refuses, or changes the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from speechprune.models.base import SpeechModel, SplicedPrompt


@torch.inference_mode()
def generate(
    model: SpeechModel, prompts: Sequence[SplicedPrompt], max_new_tokens: int
) -> tuple[list[list[int]], float]:
    """Continue each prompt greedily.

    Prompts are padded on the left and hidden there by a mask; positions count from each prompt's first token.
    Only the last position's logits are formed.

    ``max_new_tokens``: limit, the closing token included.

    Returns the token ids of each answer, up to its closing token, and the time (``perf_counter`` seconds) at
    which the first tokens were there.
    """
    from transformers import DynamicCache

    text = model.language_model
    closing = torch.tensor(sorted(text.end_token_ids), device=model.device)
    cache = DynamicCache(config=text.decoder.config)
    inputs = model.prompt_inputs(prompts, "left")
    width = inputs["inputs_embeds"].shape[1]
    lengths = torch.tensor([len(prompt.token_ids) for prompt in prompts], device=model.device)
    mask = (torch.arange(width, device=model.device) >= width - lengths[:, None]).long()
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    chosen: list[torch.Tensor] = []
    is_done = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)
    first_token_seconds = 0.0
    while len(chosen) < max_new_tokens and not is_done.all():
        states = text.decoder(
            **inputs, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        tokens = text.head(states[:, -1]).argmax(dim=-1).to(model.device)
        if not chosen:
            if tokens.is_cuda:
                torch.cuda.synchronize(tokens.device)
            first_token_seconds = time.perf_counter()
        chosen.append(tokens)
        is_done |= torch.isin(tokens, closing)
        embeds = text.embedding(tokens[:, None])
        steps = [SplicedPrompt(row, [token]) for row, token in zip(embeds, tokens.tolist(), strict=True)]
        inputs = model.prompt_inputs(steps, "left")
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        positions = positions[:, -1:] + 1
    rows = torch.stack(chosen, dim=1).tolist()
    return [_up_to_closing(row, text.end_token_ids) for row in rows], first_token_seconds


def _up_to_closing(token_ids: list[int], closing: frozenset[int]) -> list[int]:
    for i, token_id in enumerate(token_ids):
        if token_id in closing:
            return token_ids[: i + 1]
    return token_ids
