"""Open-ended answers: tokens a second beside what the card's bandwidth allows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch

from speechprune.cost import paper_kv_cache_bytes, paper_weights_bytes
from speechprune.cost.formulas import HALF_PRECISION_BYTES
from speechprune.lab.gpu.bench import Bench, Rows
from speechprune.lab.gpu.clock import peak_gigabytes, reset_peak, synchronize
from speechprune.models.base import SplicedPrompt
from speechprune.models.generation import generate


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
        for way, run in (("ours", _ours), ("Hugging Face", _hugging_face)):
            run(bench, prompts, sizes.new_tokens)
            reset_peak(bench.device)
            # the prefill and the first token are in both, and in neither once subtracted
            seconds = _seconds(bench, run, prompts, sizes.new_tokens)
            peak = peak_gigabytes(bench.device)
            decode = max(seconds - _seconds(bench, run, prompts, 1), 1e-9)
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


def _seconds(bench: Bench, run: object, prompts: Sequence[SplicedPrompt], new_tokens: int) -> float:
    synchronize(bench.device)
    start = time.perf_counter()
    run(bench, prompts, new_tokens)  # type: ignore[operator]
    synchronize(bench.device)
    return time.perf_counter() - start


def _ours(bench: Bench, prompts: Sequence[SplicedPrompt], new_tokens: int) -> None:
    """Our loop, with no token that ends an answer."""
    model = bench.lm.model
    before = model.language_model
    model.language_model = dataclasses.replace(before, end_token_ids=frozenset())
    try:
        generate(model, prompts, new_tokens)
    finally:
        model.language_model = before


def _hugging_face(bench: Bench, prompts: Sequence[SplicedPrompt], new_tokens: int) -> None:
    model, _ = bench.hugging_face
    embeds = torch.stack([prompt.embeds for prompt in prompts])
    with torch.inference_mode():
        model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
