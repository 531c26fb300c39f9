"""Greedy generation, the same for every model family.

Hugging Face's own ``generate`` is the oracle of the tests. It is not used here: in some families it forms the
logits of the whole prompt from ``inputs_embeds``, in others it refuses, or changes the model.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import torch

from speechprune.models.base import SpeechModel, SplicedPrompt, attention_of_any_shape
from speechprune.models.cached_prompts import CachedPrompts
from speechprune.models.cuda_graphs import WARM_UP_STEPS, GraphedStep

STEPS_BETWEEN_LOOKS = 8  # on a GPU, where a look at a result waits for all queued steps
MIN_STEPS_FOR_GRAPH = 10  # a capture takes as long as some three steps
# from this number of prompts on, cuDNN's attention gains more in steps than planning their shape takes
MIN_PROMPTS_FOR_CUDNN = 16
# these attention functions hide the places of a static cache that are not filled yet
WITH_STATIC_CACHE = ("sdpa", "eager")


@torch.inference_mode()
def generate(
    model: SpeechModel, prompts: Sequence[SplicedPrompt], max_new_tokens: int
) -> tuple[list[list[int]], float]:
    """Continue each prompt greedily.

    Only the last position's logits are formed.

    On a GPU the cache is allocated at its full length, steps are replayed from a CUDA graph, and whether all
    answers are closed is looked up every few steps.

    ``max_new_tokens``: limit, the closing token included.

    Returns the token ids of each answer, up to its closing token, and the time (``perf_counter`` seconds) at
    which the first tokens were there.
    """
    text, is_gpu = model.language_model, is_on_gpu(model)
    is_static = is_gpu and text.decoder.config._attn_implementation in WITH_STATIC_CACHE
    decoding = GreedyDecoding(model, prompts, max_new_tokens, has_static_cache=is_static)
    # compiled layers would be compiled again for each layer and length, up to a limit that scoring shares
    with torch.compiler.set_stance("force_eager"):
        with attention_of_any_shape(model.device):
            decoding.prefill()
        if is_gpu:
            torch.cuda.synchronize(model.device)
        first_token_seconds = time.perf_counter()
        num_steps = max_new_tokens - 1
        step = decoding.step
        if is_gpu and num_steps >= MIN_STEPS_FOR_GRAPH and decoding.fits_graph:
            step = GraphedStep(decoding.step, text.decoder, model.device)
        until_look = WARM_UP_STEPS if is_gpu else 1  # a graph for closed answers would be in vain
        is_large = len(prompts) >= MIN_PROMPTS_FOR_CUDNN
        with contextlib.nullcontext() if is_large else attention_of_any_shape(model.device):
            while num_steps and not decoding.is_done.all():
                for _ in range(min(until_look, num_steps)):
                    step()
                    num_steps -= 1
                until_look = STEPS_BETWEEN_LOOKS if is_gpu else 1
    rows = decoding.chosen[:, : max_new_tokens - num_steps].tolist()
    return [_up_to_closing(row, text.end_token_ids) for row in rows], first_token_seconds


def is_on_gpu(model: SpeechModel) -> bool:
    """Whether steps are queued on a GPU, rather than run at once."""
    return model.device.type == "cuda"


class GreedyDecoding(CachedPrompts):
    """A batch of prompts with its cache and the tokens chosen so far, all on the device.

    - ``chosen``: token ids, ``(prompts, max_new_tokens)``; columns that no step has reached mean nothing.
    - ``is_done``: whether an answer has its closing token, ``(prompts,)``.
    """

    def __init__(
        self,
        model: SpeechModel,
        prompts: Sequence[SplicedPrompt],
        max_new_tokens: int,
        *,
        has_static_cache: bool,
    ) -> None:
        num_more = [max_new_tokens] * len(prompts)
        super().__init__(model, prompts, num_more, has_static_cache=has_static_cache)
        device, count = model.device, len(prompts)
        self._closing = torch.tensor(sorted(model.language_model.end_token_ids), device=device)
        self._column = torch.zeros(1, dtype=torch.long, device=device)  # of ``chosen``: the next token's
        self._tokens = torch.zeros(count, 1, dtype=torch.long, device=device)  # the last step's
        self.chosen = torch.zeros(count, max_new_tokens, dtype=torch.long, device=device)
        self.is_done = torch.zeros(count, dtype=torch.bool, device=device)

    @property
    def fits_graph(self) -> bool:
        """Whether a step is on one device alone, and no layer of its cache counts tokens on the host."""
        from transformers.cache_utils import DummyLayer, StaticLayer

        text = self._model.language_model
        modules = (text.embedding, text.decoder, text.head)
        devices = {weight.device for module in modules for weight in module.parameters()}
        return len(devices) == 1 and all(type(one) in (StaticLayer, DummyLayer) for one in self._cache.layers)

    def prefill(self) -> None:
        """Run the prompts and choose the first tokens."""
        self._choose(self.run_prompts())

    def step(self) -> None:
        """Run the last chosen tokens and choose the next ones.

        With a static cache nothing here reads a value of the device on the host, and all state changes in
        place, as a CUDA graph needs it.
        """
        self._mask.index_fill_(1, self._column + (self._width - 1), 1)
        self._num_places += 1
        embeds = self._model.language_model.embedding(self._tokens)
        positions = self._next_positions + (self._column - 1)
        self._choose(self._run(self._model.step_inputs(embeds, self._tokens), positions)[:, -1])

    def _choose(self, states: torch.Tensor) -> None:
        self._tokens.copy_(self._model.language_model.head(states).argmax(dim=-1, keepdim=True))
        self.chosen.index_copy_(1, self._column, self._tokens)
        self.is_done |= (self._tokens == self._closing).any(dim=1)
        self._column += 1


def _up_to_closing(token_ids: list[int], closing: frozenset[int]) -> list[int]:
    for i, token_id in enumerate(token_ids):
        if token_id in closing:
            return token_ids[: i + 1]
    return token_ids
