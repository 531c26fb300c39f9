"""How much of the key sentence each way of pruning keeps, and whether the answer is still right."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from loguru import logger
from scipy.stats import rankdata

from speechprune import storage
from speechprune.inference.answer import answer_prepared
from speechprune.inference.point import Point
from speechprune.inference.prepare import PreparedQuery, prepare_queries
from speechprune.inference.prune import download_kept, prune_queries
from speechprune.lab.evidence.config import EvidenceConfig
from speechprune.lab.evidence.tables import as_markdown
from speechprune.lab.evidence.texts import TextItem, chosen_scripts, make_text_items
from speechprune.models.base import SpeechModel
from speechprune.models.loading import check_model, load_model
from speechprune.pruning.methods import FirstPhase
from speechprune.sweep.grid import PointGroup, find_reference, group_points
from speechprune.sweep.statistics import mcnemar_p

NUM_RESAMPLES = 10_000


@dataclass
class Measured:
    """What a point gave, by item."""

    auc: dict[str, float] = field(default_factory=dict)
    key_kept: dict[str, float] = field(default_factory=dict)
    is_right: dict[str, bool] = field(default_factory=dict)


def measure_on_text(config: EvidenceConfig) -> dict[str, Any]:
    """Measure every point on every item, write the results, and return them.

    Raises
    ------
    ValueError
        Model or texts can't be used.
    """
    check_model(config.model)
    scripts = chosen_scripts(config.input)
    model = load_model(config.model)
    measured: dict[str, Measured] = defaultdict(Measured)
    answered = {point.name for point in config.grid.answered_points}
    for number, (item_id, script) in enumerate(scripts):
        names = answered if number < config.input.num_answered else set()
        for text_item in make_text_items(model, item_id, script):
            _measure(model, text_item, config, names, measured)
        if (number + 1) % 20 == 0:
            logger.info("{:,} of {:,} transcripts", number + 1, len(scripts))
    groups = group_points(config.grid.all_points)
    results = {
        "model": config.model.path,
        "items": "development" if config.input.development else "reported",
        "rows": [_row(group, groups, measured, config.grid.reference) for group in groups],
    }
    storage.write_bytes(config.output.path, json.dumps(results, indent=1).encode())
    return results


def report_on_text(config: EvidenceConfig, results: dict[str, Any]) -> int:
    """Print the table."""
    print(as_markdown(results))
    return 0


def _measure(
    model: SpeechModel,
    text_item: TextItem,
    config: EvidenceConfig,
    answered: set[str],
    measured: dict[str, Measured],
) -> None:
    """Measure one item at every point."""
    by_query_text: dict[str, list[Point]] = defaultdict(list)
    for point in config.grid.all_points:
        by_query_text[point.query_text].append(point)
    for points in by_query_text.values():
        options = replace(config.answering, query_text=points[0].query_text)
        (query,) = prepare_queries(model, [text_item.item], [point.method for point in points], options)
        if isinstance(query, Exception):
            raise query
        for point in points:
            own, item_id = measured[point.group_name], text_item.item.item_id
            if point.name in answered:
                (answer,) = answer_prepared(model, [query], point.method, options)
                if isinstance(answer, Exception):
                    raise answer
                own.is_right[item_id] = answer.prediction == text_item.answer
                kept = answer.kept_indices
            else:
                kept = _kept(model, query, point)
            own.key_kept[item_id] = float(text_item.is_key[kept].sum() / text_item.is_key.sum())
            if isinstance(point.method, FirstPhase):
                scores = query.features[point.method.evidence_scores.name]
                own.auc[item_id] = area_under_curve(scores.cpu().numpy(), text_item.is_key)


def _kept(model: SpeechModel, query: PreparedQuery, point: Point) -> np.ndarray:
    (pruned,) = prune_queries(model, [query], point.method)
    if isinstance(pruned, Exception):
        raise pruned
    download_kept([pruned])()
    return pruned.kept_indices


def area_under_curve(scores: np.ndarray, is_key: np.ndarray) -> float:
    """Probability that a token of the key sentence scores above another one, ties counted half.

    - ``scores``, ``is_key``: shape ``(N,)``, some tokens of each kind.
    """
    ranks, num_key = rankdata(scores), is_key.sum()
    return float((ranks[is_key].sum() - num_key * (num_key + 1) / 2) / (num_key * (~is_key).sum()))


def bootstrap_interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean of paired differences, by resampling items with a fixed seed."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(differences), size=(NUM_RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _row(
    group: PointGroup,
    groups: Sequence[PointGroup],
    measured: dict[str, Measured],
    reference: dict[str, Any],
) -> dict[str, Any]:
    own = measured[group.name]
    row: dict[str, Any] = {
        "point": group.name,
        "settings": group.settings,
        "num_items": len(own.key_kept),
        "auc": _mean(own.auc),
        "key_kept": _mean(own.key_kept),
        "num_answered": len(own.is_right),
        "accuracy": _mean(own.is_right),
    }
    if (other_group := find_reference(group, groups, reference)) is None:
        return row
    other = measured[other_group.name]
    differences = np.array([kept - other.key_kept[item_id] for item_id, kept in own.key_kept.items()])
    row |= {"reference": other_group.name, "key_kept_difference": bootstrap_interval(differences)}
    both = [item_id for item_id in own.is_right if item_id in other.is_right]
    if both:
        row["p_value"] = mcnemar_p([own.is_right[i] for i in both], [other.is_right[i] for i in both])
    return row


def _mean(values: dict[str, Any]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None
