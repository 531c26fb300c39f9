"""What ``torch.compile`` gains on fixed shapes, and what its warm-up costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from speechprune.cost import encode_flops, prefill_flops
from speechprune.lab.gpu.bench import Bench, Rows, make_samples
from speechprune.lab.gpu.clock import queued_seconds, synchronize
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.models.base import Window


def measure_compiled(bench: Bench) -> Rows:
    """Each layer compiled by itself: one compilation serves all layers of a kind. Last, as it stays so."""
    model = as_qwen2_audio(bench.lm)
    batch, num_tokens = bench.sizes.prompt_batch, bench.sizes.prompt_tokens[1]
    windows = [Window(make_samples(model.window_seconds, seed), 0.0) for seed in range(8)]
    prompts = bench.prompts(num_tokens, batch)
    stages: tuple[tuple[str, Any, Callable[[], Any], float], ...] = (
        (
            "encoder",
            model.model.model.audio_tower.layers,
            lambda: model.embed_windows(windows),
            encode_flops(model.shape, 8),
        ),
        (
            "decoder",
            model.model.model.language_model.layers,
            lambda: model.next_token_logits(prompts),
            batch * prefill_flops(model.shape.decoder, num_tokens),
        ),
    )
    for name, layers, run, flops in stages:
        before = queued_seconds(bench.device, run, bench.sizes.repeats)
        start = time.perf_counter()
        for layer in layers:
            layer.compile()
        run()
        synchronize(bench.device)
        warmup = time.perf_counter() - start
        after = queued_seconds(bench.device, run, bench.sizes.repeats)
        yield {
            "stage": name,
            "ms_before": before * 1e3,
            "ms_compiled": after * 1e3,
            "share_compiled": bench.share(name, flops, after),
            "seconds_to_compile": warmup,
        }
