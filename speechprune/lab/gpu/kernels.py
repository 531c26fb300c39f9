"""What the card does in a stage: kernels by time, and how long it waits for the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from speechprune.lab.gpu.answers import METHODS, answer_about
from speechprune.lab.gpu.bench import Bench, Rows, ask
from speechprune.lab.gpu.clock import synchronize
from speechprune.lab.gpu.recordings import make_samples
from speechprune.models.base import Window
from speechprune.models.generation import generate

NUM_KERNELS = 7


def measure_profile(bench: Bench) -> Rows:
    """Share of the wall time in which the card computes, and the kernels that take most; layers compiled."""
    model, sizes = bench.lm.model, bench.sizes
    prompts = bench.prompts(sizes.prompt_tokens[1], sizes.prompt_batch)
    windows = [Window(make_samples(model.window_seconds, seed), 0.0) for seed in range(8)]
    recordings = bench.recordings(sizes.cases[1])
    questions = ask(recordings.case.num_questions)
    few = bench.prompts(sizes.generation_prompt, sizes.generation_batches[-1])
    stages: dict[str, Callable[[], Any]] = {
        "prefill": lambda: model.next_token_logits(prompts),
        "encoder": lambda: model.embed_windows(windows),
        "answers": lambda: answer_about(bench, recordings.samples, questions, METHODS["SpeechPrune 0.2"]),
        "generation": lambda: generate(model, few, 12),
    }
    for name, run in stages.items():
        run()
        synchronize(bench.device)
        start = time.perf_counter()
        run()
        synchronize(bench.device)
        wall = time.perf_counter() - start
        on_card = bench.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if on_card else ProfilerActivity.CPU]) as profiler:
            run()
            synchronize(bench.device)
        events = [_seconds_of(event, on_card) for event in profiler.key_averages()]
        events = sorted((event for event in events if event[1]), key=lambda event: -event[1])
        busy, number = sum(seconds for _, seconds, _ in events), sum(count for *_, count in events)
        for kernel, seconds, count in [("all", busy, number), *events[:NUM_KERNELS]]:
            yield {
                "stage": name,
                "kernel": kernel[:100],
                "ms": seconds * 1e3,
                "count": count,
                "share": seconds / wall,
            }


def _seconds_of(event: Any, on_card: bool) -> tuple[str, float, int]:
    """A kernel's name, its seconds and how often it ran."""
    microseconds = event.self_device_time_total if on_card else event.self_cpu_time_total
    return event.key, microseconds / 1e6, event.count
