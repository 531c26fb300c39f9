"""Open-ended answers: tokens a second beside what the card's bandwidth allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from speechprune.cost import paper_kv_cache_bytes, paper_weights_bytes
from speechprune.cost.formulas import HALF_PRECISION_BYTES
from speechprune.lab.gpu.bench import Bench, Rows
from speechprune.lab.gpu.clock import peak_gigabytes, reset_peak, seconds_of
from speechprune.models.base import SpeechModel, SplicedPrompt
from speechprune.models.generation import generate

WARM_UP_TOKENS = 16


def measure_generation(bench: Bench) -> Rows:
    """Tokens a second behind the prefill: ours, and Hugging Face's ``generate`` with its growing cache.

    The limit: each step reads all weights, and the keys and values of each prompt, once.
    """
    sizes, shape = bench.sizes, bench.lm.model.shape.decoder
    steps = sizes.new_tokens - 1
    for batch in sizes.generation_batches:
        prompts = bench.prompts(sizes.generation_prompt, batch)
        weights = paper_weights_bytes(shape) + HALF_PRECISION_BYTES * shape.vocab_size * shape.hidden_size
        cache = batch * paper_kv_cache_bytes(shape, sizes.generation_prompt + sizes.new_tokens // 2)
        limit = batch * bench.bandwidth / (weights + cache)
        hugging_face, _ = bench.hugging_face
        for way, run in (
            ("ours", partial(generate_unclosed, bench.lm.model, prompts)),
            ("Hugging Face", partial(generate_with_hugging_face, hugging_face, prompts)),
        ):
            run(min(WARM_UP_TOKENS, sizes.new_tokens))
            reset_peak(bench.device)
            # the prefill and the first token are in both, and in neither once subtracted
            seconds = _seconds(bench, partial(run, sizes.new_tokens))
            peak = peak_gigabytes(bench.device)
            decode = max(seconds - _seconds(bench, partial(run, 1)), 1e-9)
            yield {
                "batch": batch,
                "way": way,
                "tokens_per_second": batch * steps / decode,
                "tokens_per_second_whole": batch * sizes.new_tokens / seconds,
                "limit_by_weights": batch * bench.bandwidth / weights,
                "limit": limit,
                "share_of_limit": batch * steps / decode / limit,
                "peak_gb": peak,
            }


def _seconds(bench: Bench, run: Callable[[], Any]) -> float:
    return seconds_of(bench.device, run, 1, warmups=0)


def generate_unclosed(
    model: SpeechModel, prompts: Sequence[SplicedPrompt], new_tokens: int
) -> list[list[int]]:
    """Tokens of our loop, where no token ends an answer."""
    before = model.language_model
    model.language_model = dataclasses.replace(before, end_token_ids=frozenset())
    try:
        tokens, _ = generate(model, prompts, new_tokens)
    finally:
        model.language_model = before
    return tokens


@torch.inference_mode()
def generate_with_hugging_face(
    model: Any, prompts: Sequence[SplicedPrompt], new_tokens: int
) -> list[list[int]]:
    """Tokens of Hugging Face's loop for prompts of one length, where no token ends an answer."""
    embeds = torch.stack([prompt.embeds for prompt in prompts])
    tokens = model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=[-1],
        pad_token_id=0,
    )
    return list(tokens.tolist())
