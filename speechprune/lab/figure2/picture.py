"""Fig. 2 of one item, with the distances of the kept tokens to the text over many items."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import numpy as np

from speechprune import storage
from speechprune.data import Row
from speechprune.data.manifest import Manifest, read_manifest
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import Answer
from speechprune.lab.figure2.choices import TokenChoice, token_choices
from speechprune.lab.figure2.config import Figure2Config
from speechprune.lab.figure2.drawing import Panel, draw_panels, project
from speechprune.models.loading import check_model, load_model
from speechprune.sweep.figures import render

MAX_ANSWER_CHARACTERS = 60  # an open question's may be long


def make_figure2(config: Figure2Config) -> list[str]:
    """Draw one item, with its distances and their means over the first ``input.limit`` items.

    Returns
    -------
    list of str
        Lines with the results, and the addresses of the files.

    Raises
    ------
    ValueError
        Config, manifest or model can't be used, or the item to be drawn can't be answered.
    """
    if len(config.methods) < 2:
        raise ValueError(f"map.beside is {config.map.beside}, which pruning.method is too: give another")
    check_model(config.model)
    manifest = read_manifest(replace(config.input, limit=None), storage.join(config.output.path, "audio"))
    rows = [row for row in manifest.items.to_pylist() if row["item_id"] not in manifest.malformed]
    drawn_id = _drawn(config.map.item_id, rows, manifest)
    averaged = {row["item_id"] for row in rows[: config.input.limit]}
    wanted = [row for row in rows if row["item_id"] in averaged | {drawn_id}]
    lm = SpeechLM(load_model(config.model))
    drawn: TokenChoice | None = None
    distances: list[dict[str, float]] = []
    for choice in token_choices(lm, wanted, config.methods, config.answering):
        if choice.row["item_id"] == drawn_id:
            drawn = choice
        if choice.row["item_id"] in averaged:
            distances.append(choice.distances)
    if drawn is None:
        raise ValueError(f"item {drawn_id} can't be drawn, for the reason given above")
    return _write(config, drawn, distances)


def _drawn(item_id: str | None, rows: list[Row], manifest: Manifest) -> str:
    if item_id in manifest.malformed:
        raise ValueError(f"map.item_id is {item_id}: {manifest.malformed[item_id]}")
    ids = [str(row["item_id"]) for row in rows]
    if not ids:
        raise ValueError(f"the manifest has no usable item: {next(iter(manifest.malformed.values()))}")
    if item_id is not None and item_id not in ids:
        raise ValueError(f"map.item_id is {item_id}, which the manifest has not; it begins with {ids[0]}")
    return item_id or ids[0]


def _write(config: Figure2Config, drawn: TokenChoice, distances: list[dict[str, float]]) -> list[str]:
    mean = {name: float(np.mean([some[name] for some in distances])) for name in drawn.distances}
    panels, lines_shown = [], []
    for name, answer in drawn.answers.items():
        lines = [
            f"answers {_answered(drawn.row, answer)}",
            "cosine distance to the nearest text token:",
            f"kept {drawn.distances[name]:.3f}, all tokens {drawn.distances['']:.3f}",
            f"mean of {len(distances):,} items: kept {mean[name]:.3f}, all tokens {mean['']:.3f}",
        ]
        panels.append(Panel(name, answer.kept_indices, lines))
        lines_shown.append(f"{name} {lines[0]}; {lines[1]} {lines[2]}; {lines[3]}")
    places = project(drawn.audio_embeds, drawn.query_embeds, config.map.perplexity, config.map.seed)
    title = f"{drawn.row['question']} ({drawn.row['item_id']})"
    figure = draw_panels(places, len(drawn.audio_embeds), panels, title)
    for kind, data in render(figure).items():
        address = storage.join(config.output.path, f"figure2.{kind}")
        storage.write_bytes(address, data)
        lines_shown.append(f"wrote {address}")
    return lines_shown


def _answered(row: Row, answer: Answer) -> str:
    text = textwrap.shorten(answer.prediction_text, MAX_ANSWER_CHARACTERS)
    if row["answer"] is None or row["choices"] is None:
        return text
    return f"{text} ({'right' if answer.prediction == row['answer'] else 'wrong'})"


def report_figure2(config: Figure2Config, lines: list[str]) -> int:
    """Print what was measured."""
    print("\n".join(lines))
    return 0
