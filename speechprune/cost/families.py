"""The cost of an hour by each published model: ``speechprune cost --all-models``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from rich.box import SIMPLE
from rich.table import Table

from speechprune.cost.formulas import (
    FLOPS_PER_TFLOP,
    Cost,
    answer_cost,
    encode_flops,
    phase1_flops,
    phase2_flops,
)
from speechprune.cost.shapes import ModelShape

SECONDS_PER_HOUR = 3600
STATE_BYTES = 2  # of a stored float16 number; a state that is a token id takes 4


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """One model and an hour of audio; the fields are the keys of ``--json`` and the table's columns in order.

    An answer is its pruning and prefill, encoding apart: with one window's tokens of the hour kept, which is
    what the model takes natively, and with the whole hour. Memory is weights and KV cache, by the paper's
    account.
    """

    model: str
    tokens_per_hour: int
    tflops_encode: float
    tflops_answer_pruned: float
    memory_pruned_gb: float
    tflops_answer_whole: float
    memory_whole_gb: float
    index_mb: float


def family_row(model: str, shape: ModelShape, text_tokens: int) -> FamilyRow:
    """Account for an hour; ``text_tokens`` are all other tokens of the prompt."""
    num_windows = math.ceil(SECONDS_PER_HOUR / shape.encoder.window_seconds)
    num_tokens, kept = round(SECONDS_PER_HOUR * shape.token_rate), shape.encoder.window_tokens
    pruning = phase1_flops(shape.decoder, num_tokens) + phase2_flops(shape.decoder, kept)
    pruned = _answer(shape, kept, text_tokens, pruning)
    whole = _answer(shape, num_tokens, text_tokens, 0)
    state_bytes = STATE_BYTES * shape.encoder.states_size if shape.encoder.states_size > 1 else 4
    return FamilyRow(
        model=model,
        tokens_per_hour=num_tokens,
        tflops_encode=encode_flops(shape, num_windows) / FLOPS_PER_TFLOP,
        tflops_answer_pruned=pruned.tflops_total,
        memory_pruned_gb=(pruned.weights_bytes + pruned.kv_cache_bytes) / 1e9,
        tflops_answer_whole=whole.tflops_total,
        memory_whole_gb=(whole.weights_bytes + whole.kv_cache_bytes) / 1e9,
        index_mb=num_tokens * state_bytes / 1e6,
    )


def _answer(shape: ModelShape, kept: int, text_tokens: int, pruning: int) -> Cost:
    return answer_cost(
        shape.decoder,
        num_audio_tokens_kept=kept,
        num_text_tokens=text_tokens,
        encode_flops=0,
        prune_flops=pruning,
        num_generated_tokens=0,
    )


def family_table(rows: Iterable[FamilyRow]) -> Table:
    """The table of all models."""
    table = Table(
        caption="An hour of audio. Pruned: one window's tokens are kept. Whole: all are, whatever the model "
        "was trained on. Answers without encoding; memory is weights and KV cache.",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        caption_justify="left",
    )
    table.add_column("model", no_wrap=True)
    for heading in (
        "tokens",
        "encode\nTFLOPs",
        "pruned\nTFLOPs",
        "pruned\nGB",
        "whole\nTFLOPs",
        "whole\nGB",
        "index\nMB",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        model, tokens, *figures = astuple(row)
        table.add_row(model, f"{tokens:,}", *(f"{figure:,.1f}" for figure in figures))
    return table
