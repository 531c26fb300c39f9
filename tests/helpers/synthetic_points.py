"""A points table as a sweep makes it, with made-up numbers."""

import json

import pyarrow as pa

from speechprune.inference.point import Point
from speechprune.pruning import METHODS
from speechprune.sweep.schema import POINTS_SCHEMA
from speechprune.sweep.statistics import wilson_interval

RATES = (0.2, 0.4, 0.6, 0.8)
SLICES = {"all": 400, "hard": 230}
POSITIONS = ("first quarter", "second quarter", "third quarter", "last quarter")
START = {"speechprune": 0.9, "first_phase": 0.93, "second_phase": 0.7, "random": 0.55, "random_crop": 0.6}


def grid_points(rates=RATES) -> list[Point]:
    """Table I and Fig. 3: five methods at every rate, the first 30 s, everything."""
    rated = [Point(method=METHODS[name](pruning_rate=rate)) for name in START for rate in rates]
    return [Point(method=METHODS["truncate"]()), Point(method=METHODS["none"]()), *rated]


def points_table(
    *, models=("speechprune/demo/model",), benchmarks=("held out",), slices=SLICES, points=None
) -> pa.Table:
    """One row a model, benchmark, slice and point."""
    rows = [
        _row(model, benchmark, name, num_items, point, 1 + 2 * number)
        for model in models
        for number, benchmark in enumerate(benchmarks)
        for name, num_items in slices.items()
        for point in (grid_points() if points is None else points)
    ]
    return pa.Table.from_pylist(rows, schema=POINTS_SCHEMA)


def position_slices(num_items: int = 100) -> dict[str, int]:
    """All items, and the four quarters in which answers lie."""
    return {"all": 4 * num_items} | {f"position: {quarter}": num_items for quarter in POSITIONS}


def _row(model: str, benchmark: str, name: str, num_items: int, point: Point, length: int) -> dict:
    method, rate = point.method.name, point.method.rate
    share = {"truncate": 0.4, "none": 0.95}.get(method) or START[method] - 0.3 * rate**2
    share -= 0.04 * (length - 1) * (method != "truncate") * (rate or 0.2)
    if name == "hard":
        share = 0.0 if method == "truncate" else share - 0.1
    right = round(share * num_items)
    low, high = wilson_interval(right, num_items) if num_items else (None, None)
    num_tokens = 2250 * length
    kept = point.method.num_kept(num_tokens)
    question = 12.2 * (kept + 107) / 857
    num_seeds = 3 if point.seed is not None else 1
    prune = 0.0 if method in ("none", "truncate", "random", "random_crop") else 0.01 * length
    return {
        "model": model,
        "benchmark": benchmark,
        "slice": name,
        "point": point.group_name,
        "method": method,
        "pruning_rate": rate,
        "settings": json.dumps({k: v for k, v in point.settings.items() if k != "seed"}),
        "num_seeds": num_seeds,
        "num_items": num_items,
        "num_failed": 0,
        "accuracy": right / num_items if num_items else None,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_lowest_seed": right / num_items - 0.02 * (num_seeds > 1) if num_items else None,
        "accuracy_highest_seed": right / num_items + 0.02 * (num_seeds > 1) if num_items else None,
        "accuracy_permuted": share - 0.01,
        "accuracy_without_audio": 0.31,
        "majority_letter_accuracy": 0.26,
        "evidence_recall": kept / num_tokens,
        "reference": None if method == "none" else "none",
        "difference": None if method == "none" else share - 0.95,
        "p_value": None if method == "none" else (0.5 if share > 0.9 else 1e-6),
        "num_audio_tokens": num_tokens,
        "num_kept_tokens": kept,
        "num_text_tokens": 107.0,
        "tflops_prefill": question,
        "memory_bytes": 13.0e9 + kept * 0.53e6,
        "activation_bytes": 0.25e6 * kept,
        "tflops_encode": 2.3 * length,
        "tflops_prune": prune / 10,
        "tflops_question": question + prune / 10,
        "tflops_total": question + prune / 10 + 2.3 * length,
        "is_pareto": method == "first_phase" or method == "none",
        "seconds_decode_audio": 0.1 * length,
        "seconds_encode": 0.3 * length,
        "seconds_prune": prune,
        "seconds_prefill": 0.9e-3 * kept,
        "seconds_generate": 0.0,
        "prune_share": prune / (prune + 0.9e-3 * kept),
        "peak_memory_bytes": 15_000_000_000,
    }
