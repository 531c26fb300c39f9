"""Model card of the demo model: data, recipe, measured accuracy and limits."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechprune.benchmarks.builder.espeak import load_voices
from speechprune.benchmarks.builder.grammar import vocabulary
from speechprune.lab.training.config import TrainingConfig
from speechprune.lab.training.language_model import FACT_LAYER, OPTION_LAYER
from speechprune.lab.training.measure import RATED_METHODS, RATES
from speechprune.sweep.statistics import mcnemar_p, wilson_interval

CARD_FILE = Path(__file__).with_name("model_card.md")
Rows = Sequence[dict[str, Any]]
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TITLES = {
    "no_audio": "no audio: question and choices only",
    "truncate": "Original: the first 30 s",
    "none": "unpruned: everything",
    "transcript": "true words in place of the audio (the LLM's ceiling)",
    "random": "RAP",
    "random_crop": "RAC",
    "first_phase": "first phase",
    "second_phase": "second phase",
    "speechprune": "SpeechPrune",
}
PAIRS = (("speechprune", "random"), ("speechprune", "random_crop"), ("speechprune", "first_phase"))


def new_card(config: TrainingConfig, num_parameters: int, seconds: dict[str, float]) -> str:
    """Write the card of a model without measurements.

    Parameters
    ----------
    seconds
        Training seconds of each stage.
    """
    voices = load_voices()
    groups = Counter(voice.group for voice in voices)
    return CARD_FILE.read_text().format(
        **dataclasses.asdict(config.model),
        **dataclasses.asdict(config.corpus),
        **dataclasses.asdict(config.language),
        encoder_steps=config.encoder.num_steps,
        batch_seconds=config.encoder.batch_seconds,
        crop_seconds=config.encoder.crop_seconds,
        whole_window_share=config.encoder.whole_window_share,
        minutes="; ".join(f"{stage} {spent / 60:.0f} min" for stage, spent in seconds.items()),
        machine=f"{os.cpu_count()} CPUs" if config.run.device == "cpu" else "a GPU",
        num_words=len(vocabulary()),
        num_parameters=f"{num_parameters / 1e6:.2f}",
        training_voices=groups["training"],
        held_out_voices=groups["held_out"],
        seed=config.run.seed,
        fact_layer=FACT_LAYER + 1,
        option_layer=OPTION_LAYER + 1,
    )


def write_measured(card: str, measured: str) -> str:
    """The card with its measured part replaced.

    Raises
    ------
    ValueError
        The card has no such part.
    """
    if BEGIN not in card or END not in card:
        raise ValueError(f"the card has no part between {BEGIN} and {END}")
    head, tail = card.split(BEGIN)[0], card.split(END)[1]
    return f"{head}{BEGIN}\n\n{measured.strip()}\n\n{END}{tail}"


def measured_part(rows: Rows) -> str:
    """Tables of accuracies with 95 % intervals, word errors, and paired tests, as Markdown."""
    groups = {"all": rows} | {
        f"{name} voices": [row for row in rows if row["voice_group"] == group]
        for name, group in (("training", "training"), ("unseen", "held_out"))
    }
    groups = {name: part for name, part in groups.items() if part}
    num_items = len({row["item_id"] for row in rows if "arm" in row})
    return "\n\n".join(
        [
            f"{num_items:,} questions, each about a recording of its own; accuracy in percent with Wilson's "
            "95 % interval.",
            _whole_arms(groups),
            *(f"{name}:\n\n{_rated_arms(part)}" for name, part in groups.items()),
            _paired(rows),
        ]
    )


def _whole_arms(groups: dict[str, Rows]) -> str:
    lines = ["| | " + " | ".join(groups) + " |", "|---" * (len(groups) + 1) + "|"]
    for arm in ("no_audio", "truncate", "none", "transcript"):
        cells = [_accuracy([row for row in part if row.get("arm") == arm]) for part in groups.values()]
        lines.append(f"| {TITLES[arm]} | " + " | ".join(cells) + " |")
    rates = [_word_error_rate(part) for part in groups.values()]
    lines.append("| word error rate of the encoder's own alignment | " + " | ".join(rates) + " |")
    return "\n".join(lines)


def _rated_arms(rows: Rows) -> str:
    lines = [
        "| pruning rate | " + " | ".join(f"{rate:g}" for rate in RATES) + " |",
        "|---" * (len(RATES) + 1) + "|",
    ]
    for arm in RATED_METHODS:
        cells = [_accuracy(_of(rows, arm, rate)) for rate in RATES]
        lines.append(f"| {TITLES[arm]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _paired(rows: Rows) -> str:
    lines = [
        "| McNemar's p at rate | " + " | ".join(f"{rate:g}" for rate in RATES) + " |",
        "|---" * (len(RATES) + 1) + "|",
    ]
    for one, other in PAIRS:
        cells = []
        for rate in RATES:
            right, other_right = (
                {row["item_id"]: row["correct"] for row in _of(rows, arm, rate)} for arm in (one, other)
            )
            ids = sorted(right)
            p = mcnemar_p([right[i] for i in ids], [other_right[i] for i in ids])
            cells.append("< 0.001" if p < 0.001 else f"{p:.3f}")
        lines.append(f"| {TITLES[one]} against {TITLES[other]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of(rows: Rows, arm: str, rate: float) -> Rows:
    return [row for row in rows if row.get("arm") == arm and row["pruning_rate"] == rate]


def _accuracy(rows: Rows) -> str:
    right = sum(row["correct"] for row in rows)
    low, high = wilson_interval(right, len(rows))
    return f"{100 * right / len(rows):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _word_error_rate(rows: Rows) -> str:
    counted = [row for row in rows if "num_words" in row]
    errors, total = (sum(row[key] for row in counted) for key in ("word_errors", "num_words"))
    return f"{100 * errors / total:.1f} %"
