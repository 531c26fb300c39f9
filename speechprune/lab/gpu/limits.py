"""The card's own limits: matrix products at the model's shapes, a copy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from speechprune.lab.gpu.bench import Bench, Rows
from speechprune.lab.gpu.clock import queued_seconds

NUM_PRODUCTS = 20  # queued at once, so that no launch is waited for


def measure_limits(bench: Bench) -> Rows:
    """FLOPs a second of a layer's products in both parts, and of a large square; bytes a second of a copy."""
    sizes, shape = bench.sizes, bench.lm.model.shape
    decoder, encoder = shape.decoder, shape.encoder
    rows = sizes.prompt_batch * sizes.prompt_tokens[0]
    width, middle = decoder.hidden_size, decoder.intermediate_size
    products = [
        (rows, width, decoder.queries_size),
        (rows, width, decoder.keys_size),
        (rows, width, decoder.keys_size),
        (rows, decoder.queries_size, width),
        (rows, width, middle),
        (rows, width, middle),
        (rows, middle, width),
    ]
    yield _rate(bench, "decoder", products)
    rows = 8 * encoder.num_positions  # type: ignore[attr-defined]  # a Whisper encoder
    width, middle = encoder.states_size, encoder.ffn_size  # type: ignore[attr-defined]
    yield _rate(bench, "encoder", [(rows, width, width)] * 4 + [(rows, width, middle), (rows, middle, width)])
    yield _rate(bench, "square", [(sizes.square,) * 3])
    source = torch.randint(0, 255, (sizes.copy_bytes,), dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    seconds = queued_seconds(bench.device, lambda: target.copy_(source), NUM_PRODUCTS)
    bench.bandwidth = 2 * sizes.copy_bytes / seconds
    yield {"what": "copy", "tflops_per_second": None, "gigabytes_per_second": bench.bandwidth / 1e9}


def _rate(bench: Bench, name: str, products: Sequence[tuple[int, int, int]]) -> dict[str, object]:
    """FLOPs a second over products of (a x b) by (b x c) of random numbers, all of a layer in turn."""
    flops = seconds = 0.0
    for a, b, c in products:
        left = torch.randn(a, b, device=bench.device, dtype=bench.lm.model.dtype)
        weight = torch.randn(c, b, device=bench.device, dtype=bench.lm.model.dtype)
        product = partial(torch.nn.functional.linear, left, weight)
        seconds += queued_seconds(bench.device, product, NUM_PRODUCTS)
        flops += 2 * a * b * c
    bench.matrix_rates[name] = flops / seconds
    return {"what": name, "tflops_per_second": flops / seconds / 1e12, "gigabytes_per_second": None}
