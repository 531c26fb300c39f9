"""What ``torch.compile`` gains on fixed shapes, and what its warm-up costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from speechprune.cost import encode_flops, prefill_flops
from speechprune.lab.gpu.bench import Bench, Rows
from speechprune.lab.gpu.clock import queued_seconds, synchronize
from speechprune.lab.gpu.recordings import make_samples
from speechprune.models.base import Window
from speechprune.models.compilation import compile_layers


def measure_compiled(bench: Bench) -> Rows:
    """Milliseconds of an encoder batch and of a prefill batch as loaded, then with ``model.compile``."""
    model, sizes = bench.lm.model, bench.sizes
    batch, num_tokens = sizes.prompt_batch, sizes.prompt_tokens[1]
    size = model.encoder_batch_size
    windows = [Window(make_samples(model.window_seconds, seed), 0.0) for seed in range(size)]
    stages: dict[str, tuple[Callable[[], Any], float]] = {
        "encoder": (partial(model.embed_windows, windows), encode_flops(model.shape, size)),
        "decoder": (
            partial(model.next_token_logits, bench.prompts(num_tokens, batch)),
            batch * prefill_flops(model.shape.decoder, num_tokens),
        ),
    }
    before = {name: queued_seconds(bench.device, run, sizes.repeats) for name, (run, _) in stages.items()}
    start = time.perf_counter()
    compile_layers(model, sizes.compile_backend)
    synchronize(bench.device)
    warm_up = time.perf_counter() - start
    for name, (run, flops) in stages.items():
        seconds = queued_seconds(bench.device, run, sizes.repeats)
        yield {
            "stage": name,
            "ms_before": before[name] * 1e3,
            "ms_compiled": seconds * 1e3,
            "share_before": bench.share(name, flops, before[name]),
            "share_compiled": bench.share(name, flops, seconds),
            "seconds_to_compile_both": warm_up,
        }
